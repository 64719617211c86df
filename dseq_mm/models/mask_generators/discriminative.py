"""DSeq-JEPA's masking: where the image is discriminative, and in what order.

Shape legend: ``B`` images, ``P`` patches on a grid ``(H, W)``, ``N`` regions.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...plan import PredictionPlan
from ...randomness import Purpose, keyed_uniform
from ...regions import (
    RegionRule,
    Regions,
    Source,
    replace_regions,
    select_regions,
)
from ...registry import MODELS
from ...utils.arguments import RESERVED, check_arguments
from ...utils.values import is_count
from ..saliency import SaliencyProxy
from .base import MaskGenerator
from .multi_block import MultiBlockMaskGenerator
from .order import ORDERS, order_regions


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
        seed: Key of all randomness; None is the run's seed.

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
        self.saliency = _build_saliency(saliency)
        self.hidden, self.attention = self.saliency.hidden, self.saliency.attention
        rule, curriculum = rule or {}, curriculum or {}
        if 'num_regions' in rule:
            raise ValueError('num_regions stands beside rule, not in it')
        check_arguments(rule, RegionRule, 'rule')
        self.rule = RegionRule(num_regions=num_regions, **rule)
        self.curriculum: dict[str, Any] = dict(start=0.0, end=1.0, unit='sample')
        check_arguments(curriculum, self.curriculum, 'curriculum')
        self.curriculum.update(curriculum)
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
        if not is_count(keep_regions, 2) or keep_regions > num_regions:
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
        scheduled = torch.tensor(probability)
        if self.curriculum['unit'] == 'batch':
            draw = clock.iteration_key(Purpose.BATCH, self.seed) / 2.0**64
            if draw >= probability:
                plan = self.multi_block(encoded, sample_idx, clock)
                return replace(plan, log={'lambda': scheduled})
            probability = 1.0
        regions = self.regions(encoded, sample_idx, clock, latent_loss, probability)
        plan = self._plan(regions.rank.flatten(1))  # (B, H, W) -> (B, P)
        return replace(plan, log=regions.log | {'lambda': scheduled})

    def probability(self, progress: float) -> float:
        """Compute lambda of the curriculum.

        Args:
            progress: Share of the training that is done.

        Returns:
            The probability of discriminative regions.
        """
        start, end = self.curriculum['start'], self.curriculum['end']
        return start + (end - start) * min(max(progress, 0.0), 1.0)

    @torch.no_grad()
    def regions(
        self,
        encoded,
        sample_idx,
        clock,
        latent_loss=None,
        probability: float | None = None,
    ) -> Regions:
        """Find regions in the order of prediction.

        Args:
            encoded: See :meth:`forward`.
            sample_idx: See :meth:`forward`.
            clock: See :meth:`forward`.
            latent_loss: See :meth:`forward`.
            probability: Lambda; that of the clock by default, which decides nothing
                here with ``unit='batch'``, where :meth:`forward` does.

        Returns:
            The regions after curriculum and ordering, counted in their ``log``.

        Raises:
            ValueError: If ``unit='batch'`` and no probability is given.
        """
        if probability is None:
            if self.curriculum['unit'] == 'batch':
                raise ValueError(
                    "curriculum unit 'batch' decides between regions and an I-JEPA "
                    'plan: call the generator, or give the probability'
                )
            probability = self.probability(clock.progress)
        num = self.rule.num_regions
        key = clock.epoch_key(Purpose.REGIONS, self.seed)
        draws = keyed_uniform(key, sample_idx, 10 * num)
        fill, other, keep, order = draws.split([4 * num, 4 * num, num, num], dim=1)
        # (B, 4 * N) -> (B, N, 4); the last region is the rest, it takes no draw
        fill = fill.unflatten(1, (num, 4))[:, :-1]
        other = other.unflatten(1, (num, 4))[:, :-1]
        saliency = self.saliency(encoded, sample_idx, clock, latent_loss)
        regions = select_regions(saliency, self.rule, fill)
        log = _count(regions, probability)
        if self.curriculum['unit'] == 'sample':
            keep = keep[:, :1].expand(-1, num)
        keep = keep[:, :-1] < probability  # (B, N - 1)
        # nothing found (flat map, or released rule without a component): all random
        found = (regions.source[:, :-1] != Source.EMPTY).any(1)
        regions = replace_regions(regions, keep & found[:, None], self.rule, other)
        rank = order_regions(regions.rank, self.order, num, order)
        # a region's source goes where its rank goes
        source = torch.full_like(regions.source, Source.EMPTY)
        old, new = regions.rank.flatten(1), rank.flatten(1)  # (B, H, W) -> (B, P)
        source.scatter_(1, new, regions.source.gather(1, old))
        return Regions(rank, source, regions.degenerate, log)

    def _plan(self, rank: Tensor) -> PredictionPlan:
        """Plan of a rank map, ``(B, P)``."""
        if self.prediction == 'sequential':
            return PredictionPlan.from_ranks(rank, self.keep_regions)
        steps = torch.arange(self.keep_regions - 1, device=rank.device)
        context = torch.where(rank == self.rule.num_regions - 1, 0, -1)
        targets = rank[:, None] == steps[:, None]  # (B, S, P)
        return PredictionPlan.from_masks(context, targets, 1)

    def _check_curriculum(self) -> None:
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


def _count(regions: Regions, probability: float) -> dict[str, Tensor]:
    """Mean number of regions of each kind per image, for the log.

    Before the curriculum replaces any: how many it keeps, ``lambda`` tells.
    """
    kinds = (Source.COMPONENT, Source.SPLIT, Source.SECONDARY, Source.RANDOM)
    log = {
        f'regions_{kind.name.lower()}': (regions.source == kind).sum(1).float().mean()
        for kind in kinds
    }
    log['flat_maps'] = regions.degenerate.float().mean()
    log['lambda'] = torch.full_like(log['flat_maps'], probability)
    return log


def _build_saliency(config: dict | None) -> SaliencyProxy:
    """Build the proxy; ``ValueError`` if there is none, or it has other arguments."""
    config = config or dict(type='dseq_mm.ClassTokenSimilarity')
    if not isinstance(config, dict):
        raise ValueError(f'saliency is a dict, such as dict(type={config!r})')
    name = config.get('type')
    kind = MODELS.get(name) if isinstance(name, str) else name
    if kind is None:
        raise ValueError(
            f'there is no saliency proxy {name!r}; the package has '
            'ClassTokenSimilarity, ClassTokenAttention, TokenContrast, TokenNorm and '
            'GradCAM'
        )
    options = {key: config[key] for key in config if key not in RESERVED}
    try:
        check_arguments(options, kind, kind.__name__)
    except ValueError as error:  # arguments of the proxy that was there before
        raise ValueError(
            f'saliency={config} does not fit: {error} (to take another proxy than the '
            "base config's, start its dict by _delete_=True)"
        ) from None
    return MODELS.build(config)
