"""From saliency maps to ranked regions.

Shape legend: ``B`` images (``R`` of them where some are left out), ``P`` patches on a
grid ``(H, W)``, ``N`` regions.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .candidates import Maps, components_above, split_large
from .fill import fill_regions, rank_map
from .growth import salience_order, shrink
from .rule import RegionRule, Regions, Source
from .saliency import normalize_saliency
from .segments import (
    exact_units,
    is_root,
    may_look,
    rank_segments,
    relabel,
    segment_sizes,
)
from .threshold import MAX_LEVEL, quantize


def select_regions(saliency: Tensor, rule: RegionRule, draws: Tensor) -> Regions:
    """Cut each image into ranked regions.

    In order: components of the map thresholded by Otsu; those that are too large are
    split; while regions are missing, the uncovered area is searched in the same way;
    what is still missing is filled with random blocks (:func:`fill_regions`); the rest
    is the last region. Regions from saliency are ranked by mean saliency, ties by
    lowest patch index, and random ones follow.

    Args:
        saliency: Maps of any scale, ``(B, H, W)``.
        rule: The rule.
        draws: Uniforms in ``[0, 1)`` for the random blocks, ``(B, N - 1, 4)``.

    Returns:
        The regions. A degenerate map gives random ones (none with ``released=True``:
        the rest is everything).

    Raises:
        ValueError: If there are more regions than patches.
    """
    rule.sizes(saliency.shape[1] * saliency.shape[2])
    with torch.inference_mode():  # less overhead per operation
        normalized, degenerate = normalize_saliency(saliency)
        rank, source = _select(normalized, rule, draws)
    return Regions(rank.clone(), source.clone(), degenerate.clone())


def _select(
    normalized: Tensor, rule: RegionRule, draws: Tensor
) -> tuple[Tensor, Tensor]:
    """Ranks, ``(B, H, W)``, and sources, ``(B, N)``, of normalized maps."""
    grid = (normalized.shape[1], normalized.shape[2])
    flat = normalized.flatten(1)  # (B, H, W) -> (B, P)
    maps = Maps(exact_units(flat), quantize(flat), salience_order(flat), grid)
    found = _released(maps, rule) if rule.released else _search(maps, rule)
    roots, exist = rank_segments(maps.units, found.segments, rule.num_regions - 1)
    # (B, N - 1, P)
    masks = (found.segments[:, None] == roots[:, :, None]) & exist[:, :, None]
    missing = Source.EMPTY
    if not rule.released:
        masks = fill_regions(masks, exist, grid, rule, draws)
        missing = Source.RANDOM
    source = torch.where(exist, found.source.gather(1, roots), int(missing))
    rest = source.new_full((len(source), 1), int(Source.REST))
    return rank_map(masks, grid), torch.cat([source, rest], dim=1)


@dataclass
class _Found:
    """The regions so far, and where to look for more.

    Args:
        segments: Segmentation into accepted regions, ``(R, P)``.
        source: Code of :class:`Source` of each patch, ``(R, P)``.
        ceiling: The last threshold if no region came of it, ``(R,)``.
    """

    segments: Tensor
    source: Tensor
    ceiling: Tensor

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """The three fields."""
        return self.segments, self.source, self.ceiling

    @classmethod
    def nothing(cls, levels: Tensor) -> '_Found':
        """No region yet, on maps of levels ``(R, P)``."""
        source = torch.full_like(levels, int(Source.COMPONENT))
        ceiling = torch.full_like(levels[:, 0], MAX_LEVEL)
        return cls(torch.full_like(levels, levels.shape[1]), source, ceiling)


def _released(maps: Maps, rule: RegionRule) -> _Found:
    """Components of at least ``min_area``."""
    found = _Found.nothing(maps.levels)
    everything = torch.ones_like(found.segments, dtype=torch.bool)
    segments, _ = components_above(maps, everything, found.ceiling, rule.backend)
    num = segments.shape[1]
    least = math.ceil(rule.min_area * num)
    found.segments = torch.where(segment_sizes(segments) >= least, segments, num)
    return found


def _search(maps: Maps, rule: RegionRule) -> _Found:
    """Stages that read the map: components, split, secondary cues."""
    found = _round(maps, _Found.nothing(maps.levels), rule)
    if not rule.secondary:
        return found
    for _ in range(rule.num_regions - 1):
        if not may_look(found.segments):
            found = _round(maps, found, rule, secondary=True)
            continue
        missing = is_root(found.segments).sum(1) < rule.num_regions - 1
        rows = missing.nonzero().squeeze(1)
        if not len(rows):
            break
        some = _Found(*(x[rows] for x in found.tensors()))
        some = _round(maps.rows(rows), some, rule, secondary=True)
        for whole, part in zip(found.tensors(), some.tensors(), strict=True):
            whole[rows] = part
    return found


def _round(
    maps: Maps, found: _Found, rule: RegionRule, secondary: bool = False
) -> _Found:
    """Search the uncovered area once and accept the best candidates.

    A round without success makes its threshold the ceiling of the next one: that asks
    for a lower threshold.
    """
    count = is_root(found.segments).sum(1)  # (R,)
    num = found.segments.shape[1]
    uncovered = found.segments == num
    area = uncovered & (count < rule.num_regions - 1)[:, None]
    segments, threshold = components_above(maps, area, found.ceiling, rule.backend)
    candidates = split_large(maps, segments, rule)
    accepted = _accept(maps, candidates, count, uncovered.sum(1), rule)
    new = accepted < num
    if secondary:
        kind = torch.full_like(found.source, int(Source.SECONDARY))
    else:
        whole = segment_sizes(segments) == segment_sizes(candidates)
        kind = torch.where(whole, int(Source.COMPONENT), int(Source.SPLIT))
    return _Found(
        segments=torch.where(new, accepted, found.segments),
        source=torch.where(new, kind, found.source),
        ceiling=torch.where(new.any(1), MAX_LEVEL, threshold),
    )


def _accept(
    maps: Maps, found: Tensor, count: Tensor, free: Tensor, rule: RegionRule
) -> Tensor:
    """Take candidates by mean saliency while regions are missing.

    With ``r`` regions still to come, one may take all but ``r * m + 1`` of the free
    patches; it is cut if it has more.

    Args:
        maps: Maps of ``R`` rows.
        found: Segmentation into candidates, ``(R, P)``.
        count: Number of regions so far, ``(R,)``.
        free: Number of uncovered patches, ``(R,)``.
        rule: The rule.

    Returns:
        Segmentation into the accepted candidates, ``(R, P)``.
    """
    num = found.shape[1]
    wanted = rule.num_regions - 1
    low, high = rule.sizes(num)
    roots, exist = rank_segments(maps.units, found, wanted)  # (R, N - 1) each
    place = torch.arange(wanted, device=found.device)
    to_come = wanted - 1 - count[:, None] - place  # (R, N - 1)
    sizes = segment_sizes(found)
    keep = torch.where(exist & (to_come >= 0), sizes.gather(1, roots), 0)
    always_room = rule.split and wanted * high < num
    if not always_room:
        for k in range(wanted):
            room = free - to_come[:, k].clamp(min=0) * low - 1
            keep[:, k] = torch.minimum(keep[:, k], room)
            free = free - keep[:, k]
    # the number of patches that each label may keep, with a column for "outside"
    allowed = found.new_zeros(len(found), num + 1).scatter_(1, roots, keep)
    limit = allowed.gather(1, found)  # (R, P)
    taken = torch.where(limit > 0, found, num)
    if always_room:
        return taken
    large = torch.where(limit < sizes, taken, num)
    if may_look(large) and not (large < num).any():
        return taken
    steps = high if rule.split else num
    kept = shrink(large, limit, maps.salience, maps.grid, steps, wanted)
    return relabel(torch.where((large < num) & ~kept, num, taken))
