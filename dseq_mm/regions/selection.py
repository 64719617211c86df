"""From saliency maps to ranked regions, on the host, whatever device the maps are on.

Shape legend: ``B`` images, ``P`` patches on a grid ``(H, W)``, ``N`` regions.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from ..blocks import block_boxes, fill_blocks
from ..compiled import each_image
from .rule import RegionRule, Regions, Source
from .search import search_images


def normalize_saliency(saliency: Tensor) -> tuple[Tensor, Tensor]:
    """Normalize each map as in the paper: ``(A - min) / (max - min + 1e-6)``.

    Args:
        saliency: Maps of any floating type and any scale, ``(B, H, W)``.

    Returns:
        The normalized maps, ``(B, H, W)``, float32 in ``[0, 1]``, and which maps are
        degenerate, ``(B,)``, bool. A map is degenerate if it holds NaN or infinity, or
        if it is constant: no patch reaches the first of the 255 levels above zero (a
        range under 4e-9). Degenerate maps come back as zeros.
    """
    flat = saliency.flatten(1).float()  # (B, H, W) -> (B, P)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    normalized = (flat - low) / (high - low + 1e-6)
    # NaN fails both comparisons; the maximum of a constant map is 0
    peak = normalized.amax(1)
    usable = (peak * 255 >= 1) & (peak <= 1) & (high - low).isfinite().squeeze(1)
    normalized = torch.where(usable[:, None], normalized, 0.0)
    return normalized.view(saliency.shape), ~usable


def select_regions(saliency: Tensor, rule: RegionRule, draws: Tensor) -> Regions:
    """Cut each image into ranked regions; waits for the device of the maps.

    In order: components of the map thresholded by Otsu; those that are too large are
    split; while regions are missing, the uncovered area is searched in the same way;
    what is still missing is filled with random blocks; the rest is the last region.
    Regions from saliency are ranked by mean saliency, ties by lowest patch index, and
    random ones follow.

    Args:
        saliency: Maps of any scale, ``(B, H, W)``, on any device.
        rule: The rule.
        draws: Uniforms in ``[0, 1)`` for the random blocks, ``(B, N - 1, 4)``.

    Returns:
        The regions, on the host. A degenerate map, such as zeros, gives random ones
        (none with ``released=True``: the rest is everything).

    Raises:
        ValueError: If there are more regions than patches.
    """
    grid = (saliency.shape[1], saliency.shape[2])
    normalized, degenerate = normalize_saliency(saliency.detach().cpu())
    values = normalized.flatten(1).contiguous().numpy()  # (B, H, W) -> (B, P)
    rank = np.full(values.shape, -1)
    source = np.full((len(values), rule.num_regions), int(Source.EMPTY))
    source[:, -1] = Source.REST
    inputs = values, rule.limits(grid), neighbor_table(grid)
    each_image(search_images, len(values), *inputs, rank, source)
    found = source[:, :-1] != Source.EMPTY
    if rule.released:  # no blocks: what is not found is left to the rest
        rank[rank < 0] = rule.num_regions - 1
    else:
        source[:, :-1][~found] = Source.RANDOM
        _fill(rank, found, grid, rule, draws)
    ranks = torch.from_numpy(rank).view(saliency.shape)  # (B, P) -> (B, H, W)
    return Regions(ranks, torch.from_numpy(source), degenerate)


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
        New regions, on the host.
    """
    last, grid = rule.num_regions - 1, (regions.rank.shape[1], regions.rank.shape[2])
    rank = regions.rank.flatten(1).numpy()  # (B, H, W) -> (B, P)
    kept = np.pad(keep.numpy(), ((0, 0), (0, 1)))  # (B, N): never the rest
    rank = np.where(np.take_along_axis(kept, rank, axis=1), rank, -1)
    _fill(rank, kept[:, :-1], grid, rule, draws)
    new = torch.from_numpy(rank)
    source = regions.source.clone()
    filled = (new[:, None] == torch.arange(last)[:, None]).any(2)  # (B, N - 1)
    drawn = torch.where(filled, int(Source.RANDOM), int(Source.EMPTY))
    source[:, :-1] = torch.where(keep, source[:, :-1], drawn)
    return Regions(new.view(regions.rank.shape), source, regions.degenerate)


def _fill(rank: np.ndarray, keep: np.ndarray, grid, rule: RegionRule, draws) -> None:
    """Turn the draws into blocks, ``(B, N - 1, 4)``, and let them fill the ranks."""
    scale = (rule.min_area, rule.max_area)
    boxes = block_boxes(draws.double().cpu(), grid, scale, rule.aspect).numpy()
    each_image(fill_blocks, len(rank), rank, keep, boxes, rule.limits(grid))


@cache
def neighbor_table(grid: tuple[int, int]) -> np.ndarray:
    """List the eight neighbors of each patch; itself where there is none.

    Args:
        grid: ``(H, W)``.

    Returns:
        ``(P, 8)``, int32.
    """
    patches = np.arange(grid[0] * grid[1]).reshape(grid)
    padded = np.pad(patches, 1, constant_values=-1)
    # (H, W, 3, 3) -> (P, 9); the middle is the patch itself
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).reshape(-1, 9)
    around = np.delete(windows, 4, axis=1)
    return np.where(around < 0, windows[:, 4:5], around).astype(np.int32)
