"""Mask generators: they own the randomness and return a prediction plan.

Draws that belong to a sample are keyed by (seed, epoch, dataset index), draws that
belong to a whole batch by (seed, iteration), never by rank, worker or place.

Shape legend: ``B`` images, ``P`` patches on a grid ``(H, W)``, ``N`` regions, ``T``
target blocks, ``A`` attempts.
"""

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor

from ..plan import PredictionPlan
from ..randomness import hash_integers, keyed_uniform
from ..regions import (
    ORDERS,
    RegionRule,
    Regions,
    Source,
    order_regions,
    random_blocks,
    replace_regions,
    select_regions,
)
from .encoder import EncodedImage
from .saliency import LatentLoss

# What a stream of draws is for; part of its key.
_BLOCKS, _REGIONS, _BATCH = range(3)


class MaskGenerator(BaseModule):
    """Base of the mask generators.

    Args:
        seed: Key of all randomness; None is the run's seed, which ClockHook sets.
    """

    #: Blocks of the target encoder whose output or attention is needed.
    hidden: tuple[int, ...] = ()
    attention: tuple[int, ...] = ()

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        self.seed = seed
        self.stats: dict[str, Tensor] = {}

    def check(self, depth: int, with_cls_token: bool) -> None:
        """Compare what is needed with what the encoder has.

        Args:
            depth: Number of blocks of the encoder.
            with_cls_token: Whether it has a class token.

        Raises:
            ValueError: If the encoder cannot serve this generator.
        """

    def forward(
        self,
        encoded: EncodedImage,
        sample_idx: Tensor,
        clock,
        latent_loss: LatentLoss | None = None,
    ) -> PredictionPlan:
        """Make the plan of a batch; ``self.stats`` then holds scalars for the log.

        Args:
            encoded: Full images as the target encoder sees them.
            sample_idx: Dataset index of each image, ``(B,)``, int64.
            clock: The :class:`~dseq_mm.models.jepa.TrainingClock`.
            latent_loss: See :class:`~dseq_mm.models.saliency.SaliencyProxy`.

        Returns:
            The plan.
        """
        raise NotImplementedError


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
        seed: Key of all randomness; None is the run's seed, which ClockHook sets.

    Raises:
        ValueError: If a scale or an aspect is out of range.
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
        if num_targets < 1:
            raise ValueError(f'num_targets must be at least 1, got {num_targets}')
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
        key = hash_integers(self.seed or 0, clock.epoch, _BLOCKS)
        draws = keyed_uniform(key, sample_idx, layouts * 4)
        # (B, A * (T + 1) * 4) -> (B, A, T + 1, 4)
        draws = draws.unflatten(1, (self.attempts, self.num_targets + 1, 4))
        if self.released:
            draws = self._released_draws(draws, clock.iteration)
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

    def _released_draws(self, draws: Tensor, iteration: int) -> Tensor:
        """One number for scale and aspect, shared by the batch, for each kind."""
        size = keyed_uniform(
            hash_integers(self.seed or 0, iteration, _BATCH),
            draws.new_zeros(1).long(),
            2,
        )[0]
        draws = draws.clone()
        draws[..., 0, :2] = size[0]
        draws[..., 1:, :2] = size[1]
        return draws


@MODELS.register_module()
class DiscriminativeMaskGenerator(MaskGenerator):
    """DSeq-JEPA's regions, from the most to the least discriminative (Sec. 3.2, 3.3).

    Context is R1 to R(N-1), visible from step = rank on; targets are R2 to RN,
    predicted at step = rank.

    Args:
        saliency: Saliency proxy.
        num_regions: ``N``.
        rule: Other arguments of :class:`~dseq_mm.regions.RegionRule`.
        curriculum: ``start`` and ``end``, the probability lambda of discriminative
            regions at the first and the last iteration, linear between; ``unit``, what
            one draw decides: ``'sample'`` (paper's text), ``'region'`` (its Algorithm
            1) or ``'batch'`` (released code; a rejected batch is an I-JEPA plan).
        order: ``'discriminative'``, ``'random'``, ``'spatial'`` or ``'inverse'``.
        keep_regions: Truncate the sequence to its first so many regions.
        prediction: ``'sequential'``, or ``'flat'``: R1 to R(N-1) are each predicted
            from the rest RN alone.
        seed: Key of all randomness; None is the run's seed, which ClockHook sets.

    Raises:
        ValueError: If an option is unknown or out of range.
    """

    def __init__(
        self,
        saliency: dict | None = None,
        num_regions: int = 5,
        rule: dict | None = None,
        curriculum: dict | None = None,
        order: str = 'discriminative',
        keep_regions: int | None = None,
        prediction: str = 'sequential',
        seed: int | None = None,
    ) -> None:
        super().__init__(seed)
        saliency = saliency or dict(type='mmpretrain.ClassTokenSimilarity')
        if isinstance(saliency['type'], str) and MODELS.get(saliency['type']) is None:
            raise ValueError(
                f'there is no saliency proxy {saliency["type"]!r}; the package has '
                'ClassTokenSimilarity, ClassTokenAttention and GradCAM'
            )
        self.saliency = MODELS.build(saliency)
        self.hidden, self.attention = self.saliency.hidden, self.saliency.attention
        self.rule = RegionRule(num_regions=num_regions, **(rule or {}))
        self.curriculum = dict(start=0.0, end=1.0, unit='sample')
        self.curriculum.update(curriculum or {})
        self._check_curriculum()
        if prediction not in ('sequential', 'flat'):
            raise ValueError(
                f"prediction must be 'sequential' or 'flat', got {prediction!r}"
            )
        if order not in ORDERS:
            raise ValueError(f'order must be one of {", ".join(ORDERS)}, got {order!r}')
        if prediction == 'flat' and order != 'discriminative':
            raise ValueError(
                "prediction='flat' has no order: leave order='discriminative', or use "
                "prediction='sequential'"
            )
        keep_regions = num_regions if keep_regions is None else keep_regions
        if not 2 <= keep_regions <= num_regions:
            raise ValueError(
                f'keep_regions must lie in 2..{num_regions}, got {keep_regions}'
            )
        self.order, self.prediction = order, prediction
        self.keep_regions = keep_regions
        self.multi_block = MultiBlockMaskGenerator(seed=seed)

    def check(self, depth: int, with_cls_token: bool) -> None:
        """See :meth:`MaskGenerator.check`."""
        self.saliency.check(depth, with_cls_token)

    def forward(self, encoded, sample_idx, clock, latent_loss=None) -> PredictionPlan:
        """See :meth:`MaskGenerator.forward`."""
        probability = self.probability(clock.progress)
        if self.curriculum['unit'] == 'batch':
            draw = hash_integers(self.seed or 0, clock.iteration, _BATCH) / 2.0**64
            if draw >= probability:
                self.stats = {}
                return self.multi_block(encoded, sample_idx, clock)
            probability = 1.0
        regions = self.regions(encoded, sample_idx, clock, probability, latent_loss)
        return self._plan(regions.rank.flatten(1))  # (B, H, W) -> (B, P)

    def probability(self, progress: float) -> float:
        """Lambda of the curriculum.

        Args:
            progress: Share of the training that is done.

        Returns:
            The probability of discriminative regions.
        """
        start, end = self.curriculum['start'], self.curriculum['end']
        return start + (end - start) * min(max(progress, 0.0), 1.0)

    @torch.no_grad()
    def regions(
        self, encoded, sample_idx, clock, probability: float, latent_loss=None
    ) -> Regions:
        """Regions in the order of prediction.

        Args:
            encoded: See :meth:`forward`.
            sample_idx: See :meth:`forward`.
            clock: See :meth:`forward`.
            probability: Lambda.
            latent_loss: See :meth:`forward`.

        Returns:
            The regions after curriculum and ordering.
        """
        num = self.rule.num_regions
        key = hash_integers(self.seed or 0, clock.epoch, _REGIONS)
        draws = keyed_uniform(key, sample_idx, 10 * num)
        fill, replace, keep, order = draws.split([4 * num, 4 * num, num, num], dim=1)
        # (B, 4 * N) -> (B, N, 4); the last region is the rest, it takes no draw
        fill = fill.unflatten(1, (num, 4))[:, :-1]
        replace = replace.unflatten(1, (num, 4))[:, :-1]
        saliency = self.saliency(encoded, sample_idx, clock, latent_loss)
        regions = select_regions(saliency, self.rule, fill)
        self._count(regions, probability)
        if self.curriculum['unit'] == 'sample':
            keep = keep[:, :1].expand(-1, num)
        keep = keep[:, :-1] < probability  # (B, N - 1)
        # nothing found (flat map, or released rule without a component): all random
        found = (regions.source[:, :-1] != Source.EMPTY).any(1)
        regions = replace_regions(regions, keep & found[:, None], self.rule, replace)
        rank = order_regions(regions.rank, self.order, num, order)
        # a region's source goes where its rank goes
        source = torch.full_like(regions.source, Source.EMPTY)
        old, new = regions.rank.flatten(1), rank.flatten(1)  # (B, H, W) -> (B, P)
        source.scatter_(1, new, regions.source.gather(1, old))
        return Regions(rank, source, regions.degenerate)

    def _plan(self, rank: Tensor) -> PredictionPlan:
        """Plan of a rank map, ``(B, P)``."""
        last = self.rule.num_regions - 1
        if self.prediction == 'flat':
            steps = torch.arange(0, self.keep_regions - 1, device=rank.device)
            context, num_context = torch.where(rank == last, 0, -1), 1
        else:
            steps = torch.arange(1, self.keep_regions, device=rank.device)
            num_context = self.keep_regions - 1
            context = torch.where(rank < num_context, rank, -1)
        targets = rank[:, None] == steps[:, None]  # (B, S, P)
        return PredictionPlan.from_masks(context, targets, num_context)

    def _count(self, regions: Regions, probability: float) -> None:
        """Mean number of regions of each kind per image, for the log.

        Before the curriculum replaces any: how many it keeps, ``lambda`` tells.
        """
        kinds = (Source.COMPONENT, Source.SPLIT, Source.SECONDARY, Source.RANDOM)
        self.stats = {
            f'regions_{kind.name.lower()}': (regions.source == kind)
            .sum(1)
            .float()
            .mean()
            for kind in kinds
        }
        self.stats['flat_maps'] = regions.degenerate.float().mean()
        self.stats['lambda'] = torch.full_like(self.stats['flat_maps'], probability)

    def _check_curriculum(self) -> None:
        known = {'start', 'end', 'unit'}
        if set(self.curriculum) != known:
            raise ValueError(
                f'curriculum takes {sorted(known)}, got {sorted(self.curriculum)}'
            )
        if self.curriculum['unit'] not in ('sample', 'region', 'batch'):
            raise ValueError(
                "curriculum unit must be 'sample', 'region' or 'batch', got "
                f'{self.curriculum["unit"]!r}'
            )
        for name in ('start', 'end'):
            if not 0.0 <= self.curriculum[name] <= 1.0:
                raise ValueError(
                    f'curriculum {name} is a probability and must lie in [0, 1], got '
                    f'{self.curriculum[name]}'
                )


def _truncate(masks: Tensor) -> Tensor:
    """Keep the first patches in raster order, as many as the smallest mask has.

    Args:
        masks: ``(B, ..., P)``, bool.

    Returns:
        The same shape, every mask of one size.
    """
    smallest = masks.sum(-1).min()
    return masks & (masks.cumsum(-1) <= smallest)
