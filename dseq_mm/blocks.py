"""Random rectangular blocks, I-JEPA's unit of masking, and areas filled with them.

The loops are compiled by numba.

Shape legend: ``...`` any leading axes, ``B`` images, ``P`` patches of a grid, ``N``
regions.
"""

import numpy as np
import torch
from torch import Tensor

from .compiled import compiled


def block_boxes(
    draws: Tensor,
    grid: tuple[int, int],
    scale: tuple[float, float],
    aspect: tuple[float, float],
    inclusive: bool = True,
) -> Tensor:
    """Turn uniforms into blocks.

    Args:
        draws: Uniforms in ``[0, 1)`` for scale, aspect, row and column, ``(..., 4)``.
        grid: Rows and columns.
        scale: Lowest and highest area as a share of the grid.
        aspect: Lowest and highest height over width.
        inclusive: Let blocks reach the last row and column. False is the released
            I-JEPA sampler, which never does.

    Returns:
        Top, left, height and width in patches, ``(..., 4)``, int64.
    """
    rows, columns = grid
    area = (scale[0] + (scale[1] - scale[0]) * draws[..., 0]) * rows * columns
    area = area if inclusive else area.floor()
    ratio = aspect[0] + (aspect[1] - aspect[0]) * draws[..., 1]
    spare = 0 if inclusive else 1
    height = (area * ratio).sqrt().round().clamp(1, max(1, rows - spare))
    width = (area / ratio).sqrt().round().clamp(1, max(1, columns - spare))
    places = 1 - spare
    top = (draws[..., 2] * (rows - height + places)).floor()
    left = (draws[..., 3] * (columns - width + places)).floor()
    return torch.stack([top, left, height, width], dim=-1).long()


@compiled
def place_block(rank, box, number, low, high, width):
    """Give a number to the uncovered patches of a block; returns how many.

    If too few or too many of the block's patches are uncovered, it takes the uncovered
    patches nearest to its center, in its own proportions, ties by lowest patch index.
    """
    top, left, rows, columns = box
    # distance from the center in half sides, times the area: under that, it is inside
    distance = np.full(rank.size, -1)
    count = np.zeros(2 * rank.size + 1, np.int64)
    for patch in range(rank.size):
        if rank[patch] < 0:
            row, column = patch // width, patch % width
            down = abs(2 * (row - top) - rows + 1) * columns
            right = abs(2 * (column - left) - columns + 1) * rows
            distance[patch] = max(down, right)
            count[distance[patch]] += 1
    inside = count[: rows * columns].sum()
    size = max(0, min(max(inside, low), high))
    left_over, farthest = size, 0  # of those that are farthest away, not all may fit
    while left_over > count[farthest]:
        left_over -= count[farthest]
        farthest += 1
    for patch in range(rank.size):
        if 0 <= distance[patch] < farthest:
            rank[patch] = number
        elif distance[patch] == farthest and left_over > 0:
            left_over -= 1
            rank[patch] = number
    return size


@compiled
def fill_blocks(first, last, rank, keep, boxes, limits):
    """Give random blocks to the ranks of some images that keep no region of their own.

    Blocks come in the order of ranks. With ``free`` uncovered patches and ``r`` more
    blocks to come, one has between ``low`` and ``min(high, free - r * low - 1)``
    patches. If regions that do not obey the rule leave less than that takes, ``low``
    shrinks to an equal share. What is then uncovered is the rest.

    Changes the ranks, ``(B, P)``, which are -1 where nothing is; ranks to keep are
    ``(B, N - 1)``, bool, boxes ``(B, N - 1, 4)``.
    """
    rest = limits.num_regions - 1
    for image in range(first, last):
        free = (rank[image] < 0).sum()
        missing = rest - keep[image].sum()
        for number in range(rest):
            if keep[image, number]:
                continue
            missing -= 1
            low = min(max((free - 1) // (missing + 1), 0), limits.low)
            high = min(limits.high, free - 1 - missing * low)
            box = boxes[image, number]
            free -= place_block(rank[image], box, number, low, high, limits.width)
        for patch in range(rank.shape[1]):
            if rank[image, patch] < 0:
                rank[image, patch] = rest
