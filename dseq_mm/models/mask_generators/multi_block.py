"""I-JEPA's multi-block masking.

Shape legend: ``B`` images, ``P`` patches on a grid ``(H, W)``, ``T``
target blocks, ``A`` attempts.
"""

import torch
from torch import Tensor

from ...clock import TrainingClock
from ...plan import PredictionPlan
from ...randomness import Purpose, keyed_uniform
from ...regions import random_blocks
from ...registry import MODELS
from ...utils.values import check_counts
from .base import MaskGenerator


@MODELS.register_module()
class MultiBlockMaskGenerator(MaskGenerator):
    """I-JEPA's multi-block masking: one context block minus four target blocks.

    Sizes and positions are drawn for each sample, positions include the last row and
    column, scale and aspect are independent, and no index list is truncated. A layout
    that leaves too little context is drawn again, at most :attr:`attempts` times; the
    best one is then taken, and if even that has too little, the targets give back
    their last patches in raster order.

    Args:
        num_targets: Target blocks, ``T``.
        target_scale: Area of a target block as a share of the grid.
        target_aspect: Height over width of a target block.
        context_scale: Area of the context block as a share of the grid; aspect 1.
        min_patches: Fewest context patches; at most a quarter of the grid is asked.
        context_sees_targets: Exact I-JEPA predictor (context and targets of one block
            attend to each other in full).
        released: The released sampler: sizes shared by the batch, one number for scale
            and aspect, last row and column never reached, lists truncated to the
            shortest of the batch.
        seed: Key of all randomness; None is the run's seed.

    Raises:
        ValueError: If a scale, an aspect or a count is out of range.
    """

    attempts = 8

    def __init__(
        self,
        num_targets: int = 4,
        target_scale: tuple[float, float] = (0.15, 0.2),
        target_aspect: tuple[float, float] = (0.75, 1.5),
        context_scale: tuple[float, float] = (0.85, 1.0),
        min_patches: int = 10,
        context_sees_targets: bool = True,
        released: bool = False,
        seed: int | None = None,
    ) -> None:
        super().__init__(seed)
        for name, (low, high), top in (
            ('target_scale', target_scale, 1.0),
            ('context_scale', context_scale, 1.0),
            ('target_aspect', target_aspect, float('inf')),
        ):
            if not 0.0 < low <= high <= top:
                raise ValueError(
                    f'{name} must be (low, high) with 0 < low <= high <= {top}, got '
                    f'({low}, {high})'
                )
        check_counts(self, num_targets=num_targets, min_patches=min_patches)
        self.num_targets = num_targets
        self.target_scale, self.target_aspect = target_scale, target_aspect
        self.context_scale = context_scale
        self.min_patches = min_patches
        self.context_sees_targets = context_sees_targets
        self.released = released

    def forward(self, encoded, sample_idx, clock, latent_loss=None) -> PredictionPlan:
        """See :meth:`MaskGenerator.forward`."""
        num_patches = encoded.grid[0] * encoded.grid[1]
        if num_patches < 2:
            raise ValueError('a grid of one patch has nothing to predict from')
        layouts = self.attempts * (self.num_targets + 1)
        key = clock.epoch_key(Purpose.BLOCKS, self.seed)
        draws = keyed_uniform(key, sample_idx, layouts * 4)
        # (B, A * (T + 1) * 4) -> (B, A, T + 1, 4)
        draws = draws.unflatten(1, (self.attempts, self.num_targets + 1, 4))
        if self.released:
            draws = self._released_draws(draws, clock)
        targets = random_blocks(
            draws[:, :, 1:],
            encoded.grid,
            self.target_scale,
            self.target_aspect,
            inclusive=not self.released,
        )  # (B, A, T, P)
        block = random_blocks(
            draws[:, :, 0],
            encoded.grid,
            self.context_scale,
            (1.0, 1.0),
            inclusive=not self.released,
        )  # (B, A, P)
        context, targets = self._choose(block & ~targets.any(2), targets)
        if self.released:
            context, targets = _truncate(context), _truncate(targets)
        return PredictionPlan.from_masks(
            torch.where(context, 0, -1), targets, 1, self.context_sees_targets
        )

    def _choose(self, context: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """First layout with enough context, else the best one, mended.

        Args:
            context: ``(B, A, P)``, bool.
            targets: ``(B, A, T, P)``, bool.

        Returns:
            Context ``(B, P)`` and targets ``(B, T, P)`` of one layout each.
        """
        num_patches = context.shape[-1]
        wanted = self.min_patches + self.released  # the released test is a strict >
        enough = min(wanted, max(1, num_patches // 4))
        count = context.sum(-1).clamp(max=enough)  # (B, A)
        # the first of the largest: argmax alone does not promise which of equals
        order = torch.arange(count.shape[1], 0, -1, device=count.device)
        best = (count * (count.shape[1] + 1) + order).argmax(1)  # (B,)
        row = torch.arange(len(best), device=best.device)
        context, targets = context[row, best], targets[row, best]
        missing = enough - context.sum(-1, keepdim=True)  # (B, 1)
        hidden = ~context
        returned = hidden & (hidden.flip(1).cumsum(1).flip(1) <= missing)
        return context | returned, targets & ~returned[:, None]

    def _released_draws(self, draws: Tensor, clock: TrainingClock) -> Tensor:
        """One number for scale and aspect, shared by the batch, for each kind."""
        key = clock.iteration_key(Purpose.BATCH, self.seed)
        size = keyed_uniform(key, draws.new_zeros(1).long(), 2)[0]
        draws = draws.clone()
        draws[..., 0, :2] = size[0]
        draws[..., 1:, :2] = size[1]
        return draws


def _truncate(masks: Tensor) -> Tensor:
    """Keep the first patches in raster order, as many as the smallest mask has.

    Args:
        masks: ``(B, ..., P)``, bool.

    Returns:
        The same shape, every mask of one size.
    """
    smallest = masks.sum(-1).min()
    return masks & (masks.cumsum(-1) <= smallest)
