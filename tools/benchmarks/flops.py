"""Count the cost of one training step, in GFLOP per image.

    python tools/benchmarks/flops.py [--batch 64] [--seed 0]

ViT-B/16 at 224 px, forward and backward, 2 FLOP per multiply-add. Rows are counted by
``torch.utils.flop_counter`` while the models of the shipped configs run on ``meta``
tensors under sampled plans (attention through the math backend: the counter knows no
other on a machine without GPU). "Real tokens" is the cost without padding: patch
embedding of the full grid once per encoder, linear layers of each real token, dense
attention over each row's own length; three times for forward and backward (the patch
embedding twice: it has no input gradient), once for the target encoder. Elementwise
operations are not counted, as is usual.
"""

import os.path as osp
import sys

import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

import dseq_mm  # noqa: F401
from dseq_mm.evaluation.cost import count_flop, step_gflop
from dseq_mm.models import EncodedImage, JEPAViT, TrainingClock
from dseq_mm.plan import PredictionPlan
from dseq_mm.tables.paper import STEP_GFLOP
from dseq_mm.utils import command

CONFIGS = osp.join(osp.dirname(osp.abspath(__file__)), '..', '..', 'configs')
GRID = (14, 14)


class SmoothMaps(nn.Module):
    """Saliency for sampling plans: noise, Gaussian-filtered with sigma 2 patches."""

    hidden = attention = ()

    def __init__(self, batch: int, seed: int) -> None:
        super().__init__()
        noise = torch.rand(batch, *GRID, generator=torch.Generator().manual_seed(seed))
        self.maps = torch.from_numpy(gaussian_filter(noise.numpy(), (0, 2, 2)))

    def forward(self, encoded, sample_idx, clock, latent_loss) -> Tensor:
        return self.maps


def load(name: str, **mask_generator):
    """Model config of a shipped config, with changes to its mask generator."""
    config = Config.fromfile(osp.join(CONFIGS, f'{name}.py')).model
    config.mask_generator.update(mask_generator)
    return config


def sample_plan(config, batch: int, seed: int) -> PredictionPlan:
    """A batch of plans at the end of the curriculum."""
    generator = MODELS.build(config.mask_generator)
    if hasattr(generator, 'saliency'):
        generator.saliency = SmoothMaps(batch, seed)
    encoded = EncodedImage(patches=torch.empty(0), grid=GRID)
    return generator(encoded, torch.arange(batch), TrainingClock(0, 0, 1.0))


def count_step(config, plan: PredictionPlan, unrolled: bool = False) -> float:
    """GFLOP per image of a training step under a plan."""
    return step_gflop(config, plan.unroll() if unrolled else plan)


def count_released(config, batch: int, steps: int) -> float:
    """GFLOP per image of the released strategy: at each step the full grid is encoded
    and predicted again, hidden tokens being masked as keys only."""
    with torch.device('meta'):
        model = MODELS.build(config)
        images = torch.empty(batch, 3, 224, 224)
        repeated = torch.empty(batch * steps, 3, 224, 224)

    def run():
        model.encode_target(images)
        encoder: JEPAViT = model.backbone
        tokens = model.neck.embed(encoder(repeated)[0])
        for layer in model.neck.layers:
            tokens = layer(tokens)
        return model.neck.project(model.neck.norm(tokens)).sum()

    return count_flop(lambda: run().backward()) / batch / 1e9


def layers_cost(tokens: Tensor, dims: int, depth: int) -> Tensor:
    """FLOP of transformer layers with an MLP ratio of 4, one row per entry."""
    tokens = tokens.double()
    return 2 * depth * (12 * dims**2 * tokens + 2 * dims * tokens**2)


def real_tokens(config, plan: PredictionPlan) -> float:
    """GFLOP per image without padding, from the lengths alone."""
    dims, depth, patches = 768, 12, GRID[0] * GRID[1]
    narrow, narrow_depth = config.neck.predictor_dims, config.neck.depth
    copies = 0 if config.backbone.get('with_cls_token') is False else 1
    context = (plan.context_ids >= 0).sum(1)
    target = (plan.target_ids >= 0).sum(1)
    embed = 2 * patches * 16 * 16 * 3 * dims
    full = layers_cost(torch.tensor(patches + copies), dims, depth)
    encoder = layers_cost(context + copies * plan.num_context_steps, dims, depth)
    groups = plan.unroll() if plan.context_sees_targets else plan
    rows = (groups.context_ids >= 0).sum(1) + (groups.target_ids >= 0).sum(1)
    rows = layers_cost(rows, narrow, narrow_depth)
    rows = rows.view(plan.num_samples, -1).sum(1)  # (R,) -> (B, S) -> (B,)
    predictor = rows + 2 * dims * narrow * (context + target)
    # the patch embedding has no gradient of its input: forward, weights, target encoder
    cost = 3 * embed + full + 3 * (encoder + predictor)
    return cost.mean().item() / 1e9


def main(argv: list[str] | None = None) -> None:
    """Print the table.

    Args:
        argv: Arguments; those of the process by default.
    """
    parser = command.Parser(description=__doc__.split('\n')[0])
    parser.add_argument(
        '--batch', type=command.whole_number(1), default=64, help='plans to sample'
    )
    parser.add_argument('--seed', type=command.SEED, default=0)
    args = parser.parse_args(argv)
    dseq, ijepa = load('dseq_vitb16_600e'), load('ijepa_vitb16_600e')
    truncating = load('ijepa_vitb16_600e', released=True)
    rows = [
        ('DSeq-JEPA, 5 regions, one pass', dseq, False, 'DSeqJEPA'),
        ('DSeq-JEPA, 5 regions, unrolled', dseq, True, None),
        ('I-JEPA, whole context kept', ijepa, False, None),
        ('I-JEPA, released truncating sampler', truncating, False, 'IJEPA'),
    ]
    print(f'ViT-B/16, 224 px, {args.batch} sampled plans, GFLOP per image per step')
    print('| method | counted | real tokens | padding | paper |')
    print('|---|---|---|---|---|')
    for name, config, unrolled, method in rows:
        plan = sample_plan(config, args.batch, args.seed)
        counted = count_step(config, plan, unrolled)
        real = '' if unrolled else f'{real_tokens(config, plan):.1f}'
        share = '' if unrolled else f'{1 - float(real) / counted:.1%}'
        paper = STEP_GFLOP.get(method, '')
        print(f'| {name} | {counted:.1f} | {real} | {share} | {paper} |')
    released = count_released(dseq, args.batch, steps=4)
    print(f'| released strategy: full grid at each step | {released:.1f} | | | |')
    print("The last column is the paper's table, not a measurement of ours.")


if __name__ == '__main__':
    sys.exit(command.run(main))
