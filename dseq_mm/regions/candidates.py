"""Candidates: connected segments of an allowed size in a part of the grid.

Shape legend: ``R`` maps on a grid ``(H, W)`` of ``P`` patches. A *segmentation* gives
each patch the lowest patch index of its segment, or ``P`` where there is none.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .components import components
from .growth import shrink
from .rule import RegionRule
from .segments import may_look, relabel, segment_sizes, segment_sums
from .threshold import otsu_threshold, segment_thresholds


@dataclass
class Maps:
    """The three forms of a saliency map that selection reads, each ``(R, P)``.

    Args:
        units: Normalized, see :func:`~dseq_mm.regions.segments.exact_units`.
        levels: Quantized to 0..255, int64.
        salience: Place in the order of saliency, ``P`` for the peak, int64.
        grid: ``(H, W)``.
    """

    units: Tensor
    levels: Tensor
    salience: Tensor
    grid: tuple[int, int]

    def rows(self, index: Tensor) -> 'Maps':
        """Select some of the maps.

        Args:
            index: Rows to take.

        Returns:
            Maps of those rows.
        """
        maps = self.units[index], self.levels[index], self.salience[index]
        return Maps(*maps, grid=self.grid)

    def components(self, mask: Tensor, backend: str) -> Tensor:
        """Find components of masks on the grid.

        Args:
            mask: ``(R, P)``, bool.
            backend: ``'torch'`` or ``'opencv'``.

        Returns:
            Segmentation into 8-connected components, ``(R, P)``.
        """
        # (R, P) -> (R, H, W) -> (R, P)
        return components(mask.unflatten(1, self.grid), backend).flatten(1)


def components_above(
    maps: Maps, area: Tensor, ceiling: Tensor, backend: str
) -> tuple[Tensor, Tensor]:
    """Find components of the part of an area that lies above its Otsu threshold.

    Args:
        maps: Maps of ``R`` rows.
        area: Where to look, ``(R, P)``, bool.
        ceiling: Patches of higher levels are foreground already and have no say in the
            threshold, ``(R,)``.
        backend: ``'torch'`` or ``'opencv'``.

    Returns:
        Segmentation into components, ``(R, P)``, and the thresholds, ``(R,)``.
    """
    asked = area & (maps.levels <= ceiling[:, None])
    threshold = otsu_threshold(maps.levels, asked, backend)
    foreground = area & (maps.levels > threshold[:, None])
    return maps.components(foreground, backend), threshold


def split_large(maps: Maps, segments: Tensor, rule: RegionRule) -> Tensor:
    """Turn components into candidates of an allowed size.

    Components under the lowest size are dropped. One above the highest size is
    thresholded at its own Otsu; its pieces of at least the lowest size stay, and are
    split again if need be. One without such a piece is cut to the highest size by
    growth from its peak.

    Args:
        maps: Maps of ``R`` rows.
        segments: Segmentation into components, ``(R, P)``.
        rule: The rule.

    Returns:
        Segmentation into candidates, ``(R, P)``.
    """
    num = segments.shape[1]
    low, high = rule.sizes(num)
    sizes = segment_sizes(segments)
    if not rule.split:
        return torch.where(sizes >= low, segments, num)
    large = sizes > high
    final = torch.where((sizes < low) | large, num, segments)
    large = torch.where(large, segments, num)
    if not may_look(large):
        return _split(maps, final, large, rule)
    rows = (large < num).any(1).nonzero().squeeze(1)
    if len(rows):
        final[rows] = _split(maps.rows(rows), final[rows], large[rows], rule)
    return final


def _split(maps: Maps, final: Tensor, large: Tensor, rule: RegionRule) -> Tensor:
    """Add to the final candidates what comes of the large ones, ``(R, P)``."""
    num = large.shape[1]
    low, high = rule.sizes(num)
    cut = torch.full_like(large, num)
    for _ in range(rule.num_regions - 1):
        if may_look(large) and not (large < num).any():
            break
        above = maps.levels > segment_thresholds(maps.levels, large, rule.backend)
        above &= large < num
        enough = segment_sums(above.long(), large).gather(1, large) >= low
        above &= enough  # less cannot hold a piece of the lowest size
        if may_look(above) and not above.any():
            break
        # segments do not touch each other, so no piece lies in two
        pieces = maps.components(above, rule.backend)
        sizes = segment_sizes(pieces)
        good = sizes >= low
        fertile = segment_sums(good.long(), large).gather(1, large) > 0
        cut = torch.where(fertile, cut, torch.minimum(large, cut))
        too_large = sizes > high
        final = torch.where(good & ~too_large, pieces, final)
        large = torch.where(too_large, pieces, num)
    cut = torch.minimum(large, cut)
    if may_look(cut) and not (cut < num).any():
        return final
    limit = torch.full_like(cut, high)
    kept = shrink(cut, limit, maps.salience, maps.grid, high, num // (high + 1))
    return torch.where(kept, relabel(torch.where(kept, cut, num)), final)
