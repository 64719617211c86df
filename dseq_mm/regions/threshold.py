"""Otsu's threshold, of many subsets at once.

Shape legend: ``R`` maps of ``P`` patches. A *segmentation* gives each patch the label
of its segment, an integer in ``[0, P)``; the label ``P`` stands for "in no segment".
"""

import torch
from torch import Tensor

#: Highest level of a quantized map.
MAX_LEVEL = 255
# Splits whose variances differ relatively by less than this tie: the first is taken.
_TIE = 1e-12


def quantize(normalized: Tensor) -> Tensor:
    """Quantize a map as the released code does, by truncation.

    Args:
        normalized: Values in ``[0, 1]``, any shape.

    Returns:
        ``floor(255 * normalized)``, int64, same shape.
    """
    return (normalized * MAX_LEVEL).long()


def otsu_threshold(levels: Tensor, mask: Tensor, backend: str = 'torch') -> Tensor:
    """Compute Otsu's threshold of the selected patches; foreground lies above.

    Args:
        levels: Integers in ``[0, 255]``, ``(R, P)``.
        mask: The patches that count, ``(R, P)``, bool.
        backend: ``'torch'`` or ``'opencv'``.

    Returns:
        Thresholds, ``(R,)``, int64: the lowest among those that maximize the variance
        between the two classes. As in OpenCV it is 0 where there is nothing to split,
        that is where fewer than two distinct levels are selected.
    """
    segments = torch.where(mask, 0, levels.shape[1])
    return segment_thresholds(levels, segments, backend).amax(1)


def segment_thresholds(
    levels: Tensor, segments: Tensor, backend: str = 'torch'
) -> Tensor:
    """Compute Otsu's threshold of each segment.

    Args:
        levels: Integers in ``[0, 255]``, ``(R, P)``.
        segments: Segmentation, ``(R, P)``.
        backend: ``'torch'``, or ``'opencv'`` for ``cv2.threshold`` on one segment at a
            time. Where a threshold may lie anywhere between two levels of a segment
            theirs may differ; the foreground does not.

    Returns:
        At each patch the threshold of its segment (see :func:`otsu_threshold`), 0
        outside of the segments, ``(R, P)``, int64.
    """
    if backend == 'opencv':
        return _opencv_thresholds(levels, segments)
    # sorted (label, level) pairs: the histograms of all segments, end to end
    num = levels.shape[1]
    key = (segments * (MAX_LEVEL + 1) + levels).sort(dim=1).values
    label, level = key >> 8, key & MAX_LEVEL
    zeros = levels.new_zeros(len(levels), num + 1)  # a column per label
    size = zeros.scatter_add(1, segments, torch.ones_like(segments))
    mass = zeros.scatter_add(1, segments, levels)
    # the class at or below each sorted patch: number and sum of levels, exact integers
    place = torch.arange(1, num + 1, device=levels.device)
    below = place - (size.cumsum(1) - size).gather(1, label)  # (R, P)
    below_mass = level.cumsum(1) - (mass.cumsum(1) - mass).gather(1, label)
    size = size.gather(1, label)
    distance = (size * below_mass - below * mass.gather(1, label)).double()
    # 0 / 0 at the end of a segment, and no split between equal levels
    variance = distance * distance / (below * (size - below))
    possible = below < size
    possible[:, :-1] &= key[:, 1:] != key[:, :-1]
    variance = torch.where(possible, variance, -1.0)
    best = distance.new_zeros(zeros.shape).scatter_reduce_(1, label, variance, 'amax')
    first = variance >= best.gather(1, label) * (1 - _TIE)
    # without a split no variance reaches 0, and the table keeps its 256
    threshold = torch.full_like(zeros, MAX_LEVEL + 1).scatter_reduce_(
        1, label, torch.where(first, level, MAX_LEVEL + 1), 'amin'
    )
    threshold[:, -1] = 0
    return (threshold & MAX_LEVEL).gather(1, segments)


def _opencv_thresholds(levels: Tensor, segments: Tensor) -> Tensor:
    """The ``'opencv'`` backend of :func:`segment_thresholds`."""
    import cv2
    import numpy as np

    num = levels.shape[1]
    threshold = np.zeros(tuple(levels.shape), dtype=np.int64)
    level_maps = levels.cpu().numpy().astype(np.uint8)
    for row, labels in enumerate(segments.cpu().numpy()):
        for label in np.flatnonzero(np.bincount(labels, minlength=num)[:num]):
            chosen = labels == label
            mode = cv2.THRESH_BINARY + cv2.THRESH_OTSU
            otsu = cv2.threshold(level_maps[row, chosen], 0, MAX_LEVEL, mode)[0]
            threshold[row, chosen] = otsu
    return torch.from_numpy(threshold).to(levels.device)
