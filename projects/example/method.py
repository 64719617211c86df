"""Random segments in random order, and a regularizer of what is predicted of them.

Shape legend: ``B`` images of this and ``n`` of all processes, ``P`` patches, ``N``
segments, ``S = N - 1`` predicted ones, ``D`` channels.
"""

import torch
from mmpretrain.registry import MODELS

from dseq_mm.models import MaskGenerator, RegularizerHead, gather_images, pool_blocks
from dseq_mm.plan import PredictionPlan
from dseq_mm.randomness import Purpose, keyed_uniform


@MODELS.register_module()
class RandomSegments(MaskGenerator):
    """Cut each image into random segments; each is predicted from those before it.

    Args:
        grid_size: Rows and columns of patches; the model gives the backbone's.
        num_segments: ``N``.
        seed: Key of the draws; None is the run's seed.

    Raises:
        ValueError: If there are fewer than two segments, or more than patches.
    """

    def __init__(
        self, grid_size: tuple[int, int], num_segments: int = 4, seed: int | None = None
    ) -> None:
        super().__init__(seed)
        rows, columns = grid_size
        if not 2 <= num_segments <= rows * columns:
            raise ValueError(
                f'num_segments must lie in 2..{rows * columns}, got {num_segments}'
            )
        self.num_segments = num_segments

    def forward(self, encoded, sample_idx, clock, latent_loss=None) -> PredictionPlan:
        """See :meth:`MaskGenerator.forward`."""
        rows, columns = encoded.grid
        key = clock.epoch_key(Purpose.OUTSIDE, self.seed)
        draws = keyed_uniform(key, sample_idx, rows * columns)  # (B, P)
        center = draws.argsort(dim=1)[:, : self.num_segments]  # (B, N), all different
        patch = torch.arange(rows * columns, device=sample_idx.device)
        place = torch.stack([patch // columns, patch % columns], dim=1)  # (P, 2)
        offset = place[center][:, :, None] - place  # (B, N, P, 2)
        order = torch.arange(self.num_segments, device=patch.device)[:, None]
        # of two centers that are equally near, the first one has the patch
        distance = offset.square().sum(-1) * self.num_segments + order  # (B, N, P)
        return PredictionPlan.from_ranks(distance.argmin(dim=1), self.num_segments)


@MODELS.register_module()
class SpreadHead(RegularizerHead):
    """Push the deviation of each channel of each predicted segment up to one.

    Args:
        weight: Weight beside the latent loss.
    """

    def __init__(self, weight: float = 0.1) -> None:
        super().__init__()
        self.weight = weight

    def loss(self, context, prediction, target, plan, clock):
        """See :meth:`RegularizerHead.loss`."""
        pooled = gather_images(pool_blocks(prediction, plan))  # (n, S, D)
        spread = (pooled.var(dim=0, unbiased=False) + 1e-4).sqrt()  # (S, D)
        return self.weight * (1 - spread).relu().mean(), dict(spread=spread.mean())
