"""I-JEPA's multi-block masking.

Shape legend: ``B`` images, ``P`` patches on a grid ``(H, W)``, ``T``
target blocks, ``A`` attempts.
"""

import torch
from torch import Tensor

from ...blocks import block_boxes
from ...clock import TrainingClock
from ...compiled import compiled, each_image
from ...plan import PredictionPlan
from ...randomness import Purpose, keyed_uniform
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
        inclusive = not self.released
        blocks = block_boxes(
            draws[:, :, 0], encoded.grid, self.context_scale, (1.0, 1.0), inclusive
        )  # (B, A, 4)
        boxes = block_boxes(
            draws[:, :, 1:],
            encoded.grid,
            self.target_scale,
            self.target_aspect,
            inclusive,
        )  # (B, A, T, 4)
        wanted = self.min_patches + self.released  # the released test is a strict >
        enough = min(wanted, max(1, num_patches // 4))
        count = len(sample_idx)
        context = torch.empty(count, num_patches, dtype=torch.bool)
        targets = torch.empty(count, self.num_targets, num_patches, dtype=torch.bool)
        arrays = [x.numpy() for x in (blocks, boxes, context, targets)]
        each_image(choose_layouts, count, enough, encoded.grid[1], *arrays)
        if self.released:
            context, targets = _truncate(context), _truncate(targets)
        return PredictionPlan.from_masks(
            torch.where(context, 0, -1), targets, 1, self.context_sees_targets
        )

    def _released_draws(self, draws: Tensor, clock: TrainingClock) -> Tensor:
        """One number for scale and aspect, shared by the batch, for each kind."""
        key = clock.iteration_key(Purpose.BATCH, self.seed)
        size = keyed_uniform(key, draws.new_zeros(1).long(), 2)[0]
        draws = draws.clone()
        draws[..., 0, :2] = size[0]
        draws[..., 1:, :2] = size[1]
        return draws


@compiled
def choose_layouts(first, last, enough, width, blocks, boxes, context, targets):
    """Take the first layout of some images with enough context, else the best, mended.

    Args:
        first: Number of the first image.
        last: One more than that of the last.
        enough: Context patches that are enough.
        width: Columns of patches.
        blocks: Context block of each layout, ``(B, A, 4)``.
        boxes: Its target blocks, ``(B, A, T, 4)``.
        context: Written to, ``(B, P)``, bool.
        targets: Written to, ``(B, T, P)``, bool.
    """
    for image in range(first, last):
        best, most = 0, -1
        for attempt in range(blocks.shape[1]):
            paint(blocks[image, attempt], width, context[image])
            for number in range(boxes.shape[2]):
                box = boxes[image, attempt, number]
                paint(box, width, targets[image, number])
                context[image] &= ~targets[image, number]
            count = context[image].sum()
            if count > most:
                best, most = attempt, count
            if count >= enough:
                break
        if most >= enough:
            continue
        # even the best layout has too little: its targets give back their last patches
        paint(blocks[image, best], width, context[image])
        for number in range(boxes.shape[2]):
            paint(boxes[image, best, number], width, targets[image, number])
            context[image] &= ~targets[image, number]
        for patch in range(context.shape[1] - 1, -1, -1):
            if most < enough and not context[image, patch]:
                most += 1
                context[image, patch] = True
                targets[image, :, patch] = False


@compiled
def paint(box, width, mask):
    """Make a mask, ``(P,)``, True in a block alone."""
    top, left, rows, columns = box
    mask[:] = False
    for row in range(top, top + rows):
        mask[row * width + left : row * width + left + columns] = True


def _truncate(masks: Tensor) -> Tensor:
    """Keep the first patches in raster order, as many as the smallest mask has.

    Args:
        masks: ``(B, ..., P)``, bool.

    Returns:
        The same shape, every mask of one size.
    """
    smallest = masks.sum(-1).min()
    return masks & (masks.cumsum(-1) <= smallest)
