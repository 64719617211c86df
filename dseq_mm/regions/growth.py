"""Greedy growth: the connected way to make a segment smaller.

Shape legend: ``R`` maps on a grid ``(H, W)`` of ``P`` patches, ``G`` segments.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .segments import is_root, may_look


def salience_order(saliency: Tensor) -> Tensor:
    """Number the patches of each map from the least to the most salient.

    Args:
        saliency: ``(R, P)``.

    Returns:
        ``P`` for the most salient patch down to 1, ties by lowest patch index first,
        ``(R, P)``, int64.
    """
    num = saliency.shape[1]
    order = saliency.sort(dim=1, descending=True, stable=True).indices
    falling = torch.arange(num, 0, -1, device=saliency.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, falling)


def shrink(
    segments: Tensor,
    limit: Tensor,
    salience: Tensor,
    grid: tuple[int, int],
    steps: int,
    most: int,
) -> Tensor:
    """Regrow segments from their peaks until they have a given number of patches.

    Growth starts at the most salient patch and adds the most salient patch among the
    8-neighbors inside of the segment, so the result stays connected.

    Args:
        segments: Segmentation into connected segments, ``(R, P)``.
        limit: Number of patches to keep of each patch's segment, ``(R, P)``.
        salience: Result of :func:`salience_order`, ``(R, P)``.
        grid: ``(H, W)``.
        steps: Bound of ``limit`` inside of the segments.
        most: Bound of the number of segments in a map.

    Returns:
        The patches that are kept, ``(R, P)``, bool.
    """
    rows, num = segments.shape
    roots = is_root(segments)
    if may_look(segments):
        row, root = roots.nonzero(as_tuple=True)  # (G,) each
    else:
        number = torch.where(roots, roots.cumsum(1) - 1, most)
        patch = torch.arange(num, device=segments.device).expand_as(segments)
        root = patch.new_full((rows, most + 1), num).scatter_(1, number, patch)
        root = root[:, :-1].flatten()  # (R, most) -> (G,)
        row = torch.arange(rows, device=root.device).repeat_interleave(most)
    # P stands for the segments that do not exist
    member = segments[row] == root[:, None]  # (G, P)
    member &= (root < num)[:, None]
    keep = limit[row].gather(1, root.clamp(max=num - 1)[:, None])  # (G, 1)
    picks = _grow(torch.where(member, salience[row], 0), grid, steps)  # (G, steps)
    chosen = torch.arange(steps, device=picks.device) < keep
    grown = torch.zeros(len(row), num + 1, dtype=torch.bool, device=picks.device)
    grown.scatter_(1, torch.where(chosen, picks, num), True)
    # picks of an exhausted segment lie anywhere, hence the intersection
    grown = (grown[:, :-1] & member).long()
    kept = torch.zeros_like(segments).index_add_(0, row, grown)  # (G, P) -> (R, P)
    return kept > 0


def _grow(salience: Tensor, grid: tuple[int, int], steps: int) -> Tensor:
    """Patches in the order of growth; salience is 0 outside of the segment."""
    height, width = grid
    num = height * width
    patch = torch.arange(num, device=salience.device)
    offset = torch.arange(9, device=salience.device)
    row = patch[:, None] // width + offset // 3 - 1  # (P, 9)
    column = patch[:, None] % width + offset % 3 - 1
    on_grid = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    neighbors = torch.where(on_grid, row * width + column, num)
    # what is free, and what of it touches the region; column P is off the grid
    free = F.pad(salience, (0, 1))  # (G, P + 1)
    frontier = torch.where(free == free.amax(1, keepdim=True), free, 0)
    picks = []
    for _ in range(steps):
        best = frontier[:, :num].argmax(1)  # saliences are distinct: no ties
        picks.append(best)
        free.scatter_(1, best[:, None], 0)
        around = neighbors[best]  # (G, 9), the patch itself included
        frontier.scatter_(1, around, free.gather(1, around))
    return torch.stack(picks, dim=1)
