"""Masked semantic neighboring: the patches around a patch that resemble it most.

Shape legend: ``B`` images, ``P`` patches of a grid ``(H, W)`` in raster order, ``w``
side of a window, ``C = w * w - 1`` candidates, ``k`` neighbors, ``D`` channels. -1
stands for a patch that does not exist.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from dseq_mm.models.layers import as_float32


def window_candidates(
    grid: tuple[int, int], window: int, toroidal: bool = False, device=None
) -> Tensor:
    """Patches in the window around each patch, without the patch itself.

    Args:
        grid: Rows and columns of patches.
        window: Side of the window, odd.
        toroidal: Let the window reach over an edge to the opposite one, as the released
            code does. By default nothing is there.
        device: Where the result lives.

    Returns:
        Patch index of each candidate in raster order of the window, -1 outside the
        grid, ``(P, C)``.

    Raises:
        ValueError: If a toroidal window would hold a patch twice.
    """
    rows, columns = grid
    if toroidal and window > min(grid):
        raise ValueError(
            f'a window of {window} that reaches over the edges holds patches of a '
            f'{rows}x{columns} grid twice: lower window, or set released=False'
        )
    patch = torch.arange(rows * columns, device=device)[:, None, None]
    offset = torch.arange(window, device=device) - window // 2
    row = patch // columns + offset[:, None]  # (P, w, 1)
    column = patch % columns + offset  # (P, 1, w)
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    found = row % rows * columns + column % columns  # (P, w, w)
    found = found if toroidal else torch.where(inside, found, -1)
    before, after = window * window // 2, window * window // 2 + 1
    found = found.flatten(1)  # (P, w, w) -> (P, w * w)
    return torch.cat([found[:, :before], found[:, after:]], dim=1)


def semantic_neighbors(
    tokens: Tensor,
    grid: tuple[int, int],
    window: int,
    count: int,
    toroidal: bool = False,
) -> Tensor:
    """Find the ``k`` most similar patches in the window around each patch.

    Similarity is the cosine, in at least float32 whatever the autocast: in bfloat16
    values near one are 2^-8 apart, and the ranking would be chance.

    Args:
        tokens: One vector per patch, ``(B, P, D)``.
        grid: Rows and columns of patches.
        window: Side of the window, odd.
        count: ``k``, at most ``C``.
        toroidal: See :func:`window_candidates`.

    Returns:
        Patch index of each neighbor, the most similar one first, ``(B, P, k)``; -1
        where the window holds fewer than ``k`` patches, as at a corner.
    """
    candidates = window_candidates(grid, window, toroidal, tokens.device)
    candidates = candidates.expand(len(tokens), -1, -1)  # (P, C) -> (B, P, C)
    with torch.autocast(tokens.device.type, enabled=False):
        unit = F.normalize(as_float32(tokens), dim=-1)
        similarity = unit @ unit.mT  # (B, P, P)
    similarity = similarity.gather(2, candidates.clamp(min=0))  # (B, P, C)
    similarity = similarity.masked_fill(candidates < 0, -torch.inf)
    # missing candidates sort last and are -1 already
    return candidates.gather(2, similarity.topk(count, dim=-1).indices)
