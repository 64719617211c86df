"""How much targets differ inside an image before any training, for each query.

python -m dseq_mm.projects.dmt_jepa.measure_targets

Shape legend: ``B`` images, ``P`` patches of a grid ``(H, W)``, ``D`` channels.
"""

import sys

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from dseq_mm.models.jepa import as_target
from dseq_mm.plan import PredictionPlan
from dseq_mm.utils import command

from .aggregation import QUERIES, LocalAggregation


def smooth_features(
    batch: int, grid: tuple[int, int], dims: int, sigma: float, seed: int = 0
) -> Tensor:
    """Draw random features of which near patches have similar ones.

    Args:
        batch: ``B``.
        grid: Rows and columns of patches.
        dims: ``D``.
        sigma: Deviation of the Gaussian that smooths white noise, in patches.
        seed: Of the noise.

    Returns:
        ``(B, P, D)``, normalized as a target encoder's tokens are.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(batch, dims, *grid, generator=generator)
    side = 2 * int(2 * sigma) + 1  # two deviations to each side
    maps = gaussian_blur(noise, [side, side], [sigma, sigma])
    # (B, D, H, W) -> (B, D, P) -> (B, P, D)
    return as_target(maps.flatten(2).mT)


def differences(targets: Tensor) -> tuple[float, float]:
    """Measure how much the targets of one image differ, mean over images.

    Args:
        targets: ``(B, P, D)``.

    Returns:
        One minus the mean cosine of two different patches, 0 if all point the same way;
        and the smooth L1 loss of predicting each image's mean target everywhere.
    """
    patches = targets.shape[1]
    unit = F.normalize(targets, dim=-1)
    # the square of a sum is the sum over all pairs, each patch with itself included
    pairs = (unit.sum(1).square().sum(-1) - patches) / (patches * (patches - 1))
    constant = targets.mean(1, keepdim=True).expand_as(targets)
    return 1 - pairs.mean().item(), F.smooth_l1_loss(constant, targets).item()


@torch.no_grad()
def targets_at_start(
    features: Tensor, grid: tuple[int, int], num_heads: int, seed: int = 0, **options
) -> Tensor:
    """Make the targets of all patches with a head of random weights.

    Args:
        features: ``(B, P, D)``.
        grid: Rows and columns of patches.
        num_heads: Attention heads.
        seed: Of the weights.
        **options: Of :class:`LocalAggregation`.

    Returns:
        ``(B, P, D)``.
    """
    torch.manual_seed(seed)
    head = LocalAggregation(features.shape[-1], num_heads, **options)
    head.init_weights()
    everything = torch.ones(len(features), 1, features.shape[1], dtype=torch.bool)
    plan = PredictionPlan.from_masks(
        torch.where(everything[:, 0], -1, 0), everything, 1
    )
    return head.targets(features, grid, plan)


def main(argv: list[str] | None = None) -> None:
    """Print the table.

    Args:
        argv: Arguments; those of the process by default.
    """
    parser = command.Parser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--grid', type=command.whole_number(1), nargs=2, default=[14, 14]
    )
    parser.add_argument('--dims', type=command.whole_number(1), default=768)
    parser.add_argument('--heads', type=command.whole_number(1), default=12)
    parser.add_argument('--batch', type=command.whole_number(1), default=32)
    parser.add_argument('--sigma', type=float, default=2.0)
    args = parser.parse_args(argv)
    features = smooth_features(args.batch, tuple(args.grid), args.dims, args.sigma)
    rows = {'features (I-JEPA)': features}
    for query in QUERIES:
        rows[query] = targets_at_start(features, args.grid, args.heads, query=query)
    rows['image_mean, released'] = targets_at_start(
        features, args.grid, args.heads, query='image_mean', released=True
    )
    print('| targets | 1 - mean cosine | loss of a constant |\n|---|---|---|')
    for name, targets in rows.items():
        print('| {} | {:.3f} | {:.3f} |'.format(name, *differences(targets)))


if __name__ == '__main__':
    sys.exit(command.run(main))
