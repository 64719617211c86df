"""8-connected components of many masks at once.

Shape legend: ``R`` masks on a grid ``(H, W)`` of ``P`` patches, ``T`` trees.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .segments import may_look


def label_components(mask: Tensor, backend: str = 'torch') -> Tensor:
    """Label the 8-connected components of each mask.

    Args:
        mask: ``(R, H, W)``, bool.
        backend: ``'torch'``, or ``'opencv'`` for ``cv2.connectedComponents`` on one
            mask at a time.

    Returns:
        The lowest patch index of the component, -1 outside of the mask, ``(R, H, W)``,
        int64.
    """
    labels = components(mask, backend)
    return torch.where(mask, labels, -1)


def components(mask: Tensor, backend: str = 'torch') -> Tensor:
    """Label components, with ``P`` in place of -1, as segmentations have it.

    Args:
        mask: See :func:`label_components`.
        backend: See :func:`label_components`.

    Returns:
        ``(R, H, W)``, int64 in ``0..P``.
    """
    if backend == 'opencv':
        return _opencv_components(mask)
    num = mask.shape[1] * mask.shape[2]
    patch = torch.arange(num, device=mask.device).view(mask.shape[1:])
    labels = torch.where(mask, patch, num)
    if not may_look(mask):
        return _bounded_components(mask, labels)
    while True:
        # each patch follows the lowest patch that it touches, and takes over its label
        lowest = torch.where(mask, _lowest_neighbor(labels), num).flatten(1)
        table = F.pad(lowest, (0, 1), value=num)
        jumped = table.gather(1, lowest).view(mask.shape)  # (R, P) -> (R, H, W)
        if torch.equal(jumped, labels):
            return labels
        labels = jumped


def _bounded_components(mask: Tensor, labels: Tensor) -> Tensor:
    """Components by an amount of work that does not depend on the masks.

    Each patch points to the lowest patch that it touches, and pointer jumping makes a
    tree of each basin; then the graph of touching trees is closed by squaring its
    matrix. The bounds:

    - a chain of pointers takes at most ``H - 1`` steps up and, as each of these gains
      at most one column, ``W + H - 2`` steps left: under ``2 H + W`` in all;
    - two roots never touch (the higher one would point to the lower one), so at most
      every second patch of every second row is one: ``T <= ceil(H/2) * ceil(W/2)``;
    - a path between trees has under ``T`` steps, and each squaring doubles its length.
    """
    rows, height, width = mask.shape
    num = height * width
    trees = -(-height // 2) * -(-width // 2)
    inside = mask.flatten(1)  # (R, H, W) -> (R, P)
    patch = torch.arange(num, device=mask.device).expand_as(inside)
    root = torch.where(inside, _lowest_neighbor(labels).flatten(1), patch)
    for _ in range((2 * height + width - 1).bit_length()):
        root = root.gather(1, root)
    is_root = inside & (root == patch)
    # trees are numbered in the order of their roots; T stands for "outside"
    number = torch.where(is_root, is_root.cumsum(1) - 1, trees)
    tree = torch.where(inside, number.gather(1, root), trees)  # (R, P)
    reach = _touching(tree.view(mask.shape), trees).float()  # (R, T, T)
    for _ in range((trees - 1).bit_length()):
        reach = torch.bmm(reach, reach).clamp_(max=1)
    # the first tree that each tree reaches, then its root
    column = torch.arange(trees, device=mask.device)
    first = torch.where(reach > 0, column, trees).amin(2)  # (R, T)
    roots = patch.new_full((rows, trees + 1), num).scatter_(1, number, patch)
    roots[:, -1] = num
    first = F.pad(first, (0, 1), value=trees)  # (R, T + 1)
    return roots.gather(1, first).gather(1, tree).view(mask.shape)


def _lowest_neighbor(labels: Tensor) -> Tensor:
    """Minimum over 3x3 neighborhoods, ``(R, H, W)``, for labels in ``0..P``."""
    num = labels.shape[1] * labels.shape[2]
    padded = F.pad(labels, (1, 1, 1, 1), value=num)  # (R, H + 2, W + 2)
    rows = torch.minimum(padded[:, :-2], padded[:, 2:])
    rows = torch.minimum(rows, padded[:, 1:-1])  # (R, H, W + 2)
    columns = torch.minimum(rows[..., :-2], rows[..., 2:])
    return torch.minimum(columns, rows[..., 1:-1])


def _touching(tree: Tensor, trees: int) -> Tensor:
    """Which trees are neighbors or equal, ``(R, H, W)`` -> ``(R, T, T)``, bool."""
    side = trees + 1
    padded = F.pad(tree, (1, 1, 0, 1), value=trees)  # (R, H + 1, W + 2)
    east, south = padded[:, :-1, 2:], padded[:, 1:, 1:-1]
    southwest, southeast = padded[:, 1:, :-2], padded[:, 1:, 2:]
    neighbor = torch.stack([tree, east, southwest, south, southeast], dim=1)
    pair = (tree[:, None] * side + neighbor).flatten(1)  # (R, 5, H, W) -> (R, 5 * P)
    touching = torch.zeros(
        len(tree), side * side, dtype=torch.bool, device=tree.device
    ).scatter_(1, pair, True)
    touching = touching.view(-1, side, side)[:, :-1, :-1]
    return touching | touching.transpose(1, 2)


def _opencv_components(mask: Tensor) -> Tensor:
    """The ``'opencv'`` backend of :func:`components`."""
    import cv2
    import numpy as np

    num = mask.shape[1] * mask.shape[2]
    labels = np.full(tuple(mask.shape), num, dtype=np.int64)
    images: np.ndarray = mask.cpu().numpy().astype(np.uint8)
    for row, image in enumerate(images):
        count, numbers = cv2.connectedComponents(image, connectivity=8)
        first = np.full(count, num)
        # of several writes to one place the last one stays: the lowest patch
        first[numbers.ravel()[::-1]] = np.arange(num)[::-1]
        first[0] = num
        labels[row] = first[numbers]
    return torch.from_numpy(labels).to(mask.device)
