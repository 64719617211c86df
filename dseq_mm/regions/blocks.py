"""Random rectangular blocks, I-JEPA's unit of masking.

Shape legend: ``...`` any leading axes, ``P`` patches of a grid ``(H, W)``.
"""

import torch
from torch import Tensor


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


def random_blocks(
    draws: Tensor,
    grid: tuple[int, int],
    scale: tuple[float, float],
    aspect: tuple[float, float],
    inclusive: bool = True,
) -> Tensor:
    """Draw masks of random blocks, see :func:`block_boxes`.

    Args:
        draws: Uniforms in ``[0, 1)``, ``(..., 4)``.
        grid: Rows and columns.
        scale: Lowest and highest area as a share of the grid.
        aspect: Lowest and highest height over width.
        inclusive: See :func:`block_boxes`.

    Returns:
        ``(..., P)``, bool.
    """
    boxes = block_boxes(draws, grid, scale, aspect, inclusive)
    top, left, height, width = boxes[..., None].unbind(-2)  # each (..., 1)
    patch = torch.arange(grid[0] * grid[1], device=draws.device)
    row, column = patch // grid[1], patch % grid[1]
    in_rows = (row >= top) & (row < top + height)
    return in_rows & (column >= left) & (column < left + width)
