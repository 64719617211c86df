"""Orders of prediction over the same regions.

Shape legend: ``B`` images, ``P`` patches on a grid ``(H, W)``, ``N`` regions.
"""

import torch
from torch import Tensor

ORDERS = ('discriminative', 'inverse', 'random', 'spatial')


def order_regions(rank: Tensor, order: str, num_regions: int, draws: Tensor) -> Tensor:
    """Permute the ranks of each image.

    All ``N`` ranks are permuted, empty ones too: a rank without patches gives another
    rank without patches. For ``'spatial'``, which goes by the row and then the column
    of the centroids, empty ranks come last.

    Args:
        rank: ``(B, H, W)``, int64 in ``[0, N)``.
        order: ``'discriminative'`` (as they are), ``'inverse'``, ``'random'`` or
            ``'spatial'``.
        num_regions: ``N``.
        draws: Uniforms in ``[0, 1)`` for ``'random'``, ``(B, N)``.

    Returns:
        The new ranks, ``(B, H, W)``.

    Raises:
        ValueError: If the order is unknown.
    """
    if order not in ORDERS:
        raise ValueError(f'order must be one of {", ".join(ORDERS)}, got {order!r}')
    if order == 'discriminative':
        return rank
    if order == 'inverse':
        return num_regions - 1 - rank
    flat = rank.flatten(1)  # (B, H, W) -> (B, P)
    if order == 'random':
        old = draws.argsort(dim=1, stable=True)  # (B, N), the old rank in each place
    else:
        old = _raster_order(flat, rank.shape[2], num_regions)
    place = old.argsort(dim=1)  # the inverse permutation
    return place.gather(1, flat).view(rank.shape)


def _raster_order(rank: Tensor, width: int, num_regions: int) -> Tensor:
    """Ranks sorted by centroid, ``(B, P)`` -> ``(B, N)``."""
    patch = torch.arange(rank.shape[1], device=rank.device).expand_as(rank)
    zeros = torch.zeros(len(rank), num_regions, device=rank.device).double()
    size = zeros.scatter_add(1, rank, torch.ones_like(rank).double())

    def centroid(position: Tensor) -> Tensor:
        """Compute the mean position of each region, infinite for an empty one."""
        total = zeros.scatter_add(1, rank, position.double())
        return torch.where(size > 0, total / size, torch.inf)

    order = centroid(patch % width).argsort(dim=1, stable=True)
    rows = centroid(patch // width).gather(1, order)
    return order.gather(1, rows.argsort(dim=1, stable=True))
