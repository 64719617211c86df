"""Random regions: blocks in the area that other regions leave.

Shape legend: ``B`` images, ``P`` patches on a grid ``(H, W)``, ``N`` regions.
"""

import torch
from torch import Tensor

from .blocks import block_boxes
from .rule import RegionRule, Regions, Source
from .segments import may_look


def fill_regions(
    masks: Tensor,
    keep: Tensor,
    grid: tuple[int, int],
    rule: RegionRule,
    draws: Tensor,
) -> Tensor:
    """Give random blocks to the ranks that keep no region of their own.

    In the order of ranks, a block is clipped to the area that is uncovered. If too few
    or too many of its patches remain, the uncovered patches nearest to its center are
    taken instead, in the block's own proportions (ties by lowest patch index). With
    ``free`` uncovered patches and ``r`` more blocks to come, a block has between ``m``
    and ``min(M, free - r * m - 1)`` patches. If regions that do not obey the rule leave
    less than that takes, ``m`` shrinks to an equal share.

    Args:
        masks: Disjoint regions by rank, ``(B, N - 1, P)``, bool.
        keep: Ranks that stay as they are, ``(B, N - 1)``, bool.
        grid: ``(H, W)``.
        rule: The rule.
        draws: Uniforms in ``[0, 1)`` for scale, aspect, row and column,
            ``(B, N - 1, 4)``.

    Returns:
        Disjoint regions by rank, ``(B, N - 1, P)``, bool.
    """
    masks = masks & keep[:, :, None]
    if may_look(keep) and bool(keep.all()):
        return masks
    least, most = rule.sizes(grid[0] * grid[1])
    distance = _block_distance(draws, grid, rule)  # (B, N - 1, P)
    uncovered = ~masks.any(1)  # (B, P)
    to_come = (~keep).flip(1).cumsum(1).flip(1) - (~keep).long()  # (B, N - 1)
    filled = []
    for rank, mask in enumerate(masks.unbind(1)):
        if may_look(keep) and bool(keep[:, rank].all()):
            filled.append(mask)
            continue
        free = uncovered.sum(1)
        others = to_come[:, rank]
        low = ((free - 1) // (others + 1)).clamp(min=0, max=least)
        high = (free - 1 - others * low).clamp(max=most)
        inside = (uncovered & (distance[:, rank] < 1)).sum(1)
        size = torch.minimum(torch.maximum(inside, low), high)
        away = torch.where(uncovered, distance[:, rank], torch.inf)
        place = away.sort(dim=1, stable=True).indices
        # place k holds the k-th nearest patch: mark the first `size` of them
        near = torch.arange(place.shape[1], device=place.device) < size[:, None]
        block = torch.zeros_like(uncovered).scatter_(1, place, near)
        mask = torch.where(keep[:, rank, None], mask, block)
        filled.append(mask)
        uncovered = uncovered & ~mask
    return torch.stack(filled, dim=1)


def _block_distance(draws: Tensor, grid: tuple[int, int], rule: RegionRule) -> Tensor:
    """Distance of each patch to each block's center in half sides: under 1 inside."""
    boxes = block_boxes(
        draws.double(), grid, (rule.min_area, rule.max_area), rule.aspect
    )
    top, left, height, width = boxes[..., None].unbind(-2)  # (B, N - 1, 1) each
    patch = torch.arange(grid[0] * grid[1], device=draws.device)
    row, column = patch // grid[1], patch % grid[1]
    # twice the offset from the center is an integer: 2 * row - (2 * top + height - 1)
    vertical = (2 * (row - top) - height + 1).abs().double() / height
    horizontal = (2 * (column - left) - width + 1).abs().double() / width
    return torch.maximum(vertical, horizontal)


def rank_map(masks: Tensor, grid: tuple[int, int]) -> Tensor:
    """Number patches by region; what no region covers is the last rank.

    Args:
        masks: Disjoint regions by rank, ``(B, N - 1, P)``, bool.
        grid: ``(H, W)``.

    Returns:
        ``(B, H, W)``, int64.
    """
    last = masks.shape[1]
    back = torch.arange(-last, 0, device=masks.device)  # rank minus N - 1
    rank = last + (masks * back[:, None]).sum(1)  # (B, P)
    return rank.unflatten(1, grid)


def random_regions(
    batch_size: int, grid: tuple[int, int], rule: RegionRule, draws: Tensor
) -> Regions:
    """Draw disjoint random blocks, in the order of the draws, and the rest.

    Args:
        batch_size: ``B``.
        grid: ``(H, W)``.
        rule: The rule.
        draws: Uniforms in ``[0, 1)``, ``(B, N - 1, 4)``.

    Returns:
        The regions.

    Raises:
        ValueError: If there are more regions than patches.
    """
    ranks, num = rule.num_regions - 1, grid[0] * grid[1]
    nothing = torch.zeros(batch_size, ranks, num, dtype=torch.bool, device=draws.device)
    masks = fill_regions(nothing, nothing[..., 0], grid, rule, draws)
    source = torch.full(
        (batch_size, ranks + 1), int(Source.RANDOM), device=draws.device
    )
    source[:, -1] = int(Source.REST)
    return Regions(rank_map(masks, grid), source, nothing[:, 0, 0])


def replace_regions(
    regions: Regions, keep: Tensor, rule: RegionRule, draws: Tensor
) -> Regions:
    """Replace regions by random blocks that take their ranks.

    Args:
        regions: The regions.
        keep: Ranks that stay as they are, ``(B, N - 1)``, bool.
        rule: The rule.
        draws: Uniforms in ``[0, 1)``, ``(B, N - 1, 4)``.

    Returns:
        New regions.
    """
    grid = (regions.rank.shape[1], regions.rank.shape[2])
    rank = regions.rank.flatten(1)  # (B, H, W) -> (B, P)
    ranks = torch.arange(rule.num_regions - 1, device=rank.device)
    masks = rank[:, None] == ranks[:, None]  # (B, N - 1, P)
    masks = fill_regions(masks, keep, grid, rule, draws)
    source = regions.source.clone()
    drawn = torch.where(masks.any(2), int(Source.RANDOM), int(Source.EMPTY))
    source[:, :-1] = torch.where(keep, source[:, :-1], drawn)
    return Regions(rank_map(masks, grid), source, regions.degenerate)
