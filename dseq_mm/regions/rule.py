"""What regions are asked for, and what comes back.

Shape legend: ``B`` images, ``P`` patches on a grid ``(H, W)``, ``N`` regions.
"""

import math
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from torch import Tensor

from ..utils.values import check_counts


class Source(IntEnum):
    """Where a region comes from."""

    COMPONENT = 0  # of the thresholded map
    SPLIT = 1  # a piece of a component that was too large
    SECONDARY = 2  # found by thresholding what earlier regions left
    RANDOM = 3  # a block
    REST = 4  # what the other regions leave: always the last rank
    EMPTY = 5  # no patches: only the released rule leaves such a region


@dataclass
class Regions:
    """Regions of a batch: disjoint, and together the whole grid.

    Args:
        rank: Rank of the region that each patch belongs to, ``(B, H, W)``, int64 in
            ``[0, N)``.
        source: Code of :class:`Source` per rank, ``(B, N)``, int64.
        degenerate: Maps that could not be used, ``(B,)``, bool.
        log: Scalars for the log, by name.
    """

    rank: Tensor
    source: Tensor
    degenerate: Tensor
    log: dict[str, Tensor] = field(default_factory=dict)


class Limits(NamedTuple):
    """What compiled loops read of a :class:`RegionRule` on a grid."""

    num_regions: int
    low: int
    high: int
    least: int  # of the released selection, else 0
    split: bool
    secondary: bool
    width: int


@dataclass(frozen=True)
class RegionRule:
    """How regions are cut out of a saliency map.

    Args:
        num_regions: ``N``, the rest included.
        min_area: Lowest area of a region but the rest, as a share of the grid.
        max_area: Highest area of a region but the rest, as a share of the grid.
        min_patches: Lowest number of patches of a region but the rest.
        aspect: Lowest and highest height over width of random blocks.
        split: Split components above ``max_area``. Without it they stay whole, as large
            as the other regions allow.
        secondary: Threshold what is left again while regions are missing.
        released: The released selection: no split, no secondary cues, no random
            blocks. Ranks without a component stay empty, and ``min_patches`` and
            ``max_area`` do not count.

    Raises:
        ValueError: If an option is unknown or out of range.
    """

    num_regions: int = 5
    min_area: float = 0.15
    max_area: float = 0.2
    min_patches: int = 10
    aspect: tuple[float, float] = (0.75, 1.5)
    split: bool = True
    secondary: bool = True
    released: bool = False

    def __post_init__(self) -> None:
        check_counts(self, 2, num_regions=self.num_regions)
        if not 0 < self.min_area <= self.max_area < 1:
            raise ValueError(
                'areas are shares of the grid with 0 < min_area <= max_area < 1, got '
                f'min_area={self.min_area} and max_area={self.max_area}'
            )
        check_counts(self, min_patches=self.min_patches)
        if len(self.aspect) != 2 or not 0 < self.aspect[0] <= self.aspect[1]:
            raise ValueError(
                'aspect must be two positive numbers, the lower first, got '
                f'{self.aspect}'
            )

    def sizes(self, num_patches: int) -> tuple[int, int]:
        """Bound the number of patches of each region but the rest.

        Args:
            num_patches: ``P``.

        Returns:
            Lowest and highest number of patches, ``m`` and ``M``.

        Raises:
            ValueError: If there are more regions than patches.
        """
        if num_patches < self.num_regions:
            raise ValueError(
                f'{num_patches} patches cannot hold num_regions={self.num_regions} '
                'regions: use fewer regions, a larger image or smaller patches'
            )
        # shares such as 0.29 * 100 = 28.999999999999996 must not lose a patch
        least = math.ceil(self.min_area * num_patches - 1e-9)
        low = min(max(self.min_patches, least), num_patches // self.num_regions)
        return low, max(low, math.floor(self.max_area * num_patches + 1e-9))

    def limits(self, grid: tuple[int, int]) -> Limits:
        """Tell compiled loops what they read of the rule on a grid ``(H, W)``."""
        num_patches = grid[0] * grid[1]
        low, high = self.sizes(num_patches)
        least = math.ceil(self.min_area * num_patches) if self.released else 0
        options = least, self.split, self.secondary
        return Limits(self.num_regions, low, high, *options, width=grid[1])
