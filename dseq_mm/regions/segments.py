"""Small helpers on segmentations.

Shape legend: ``R`` maps on a grid ``(H, W)`` of ``P`` patches, ``K`` segments that are
looked for. A *segmentation* gives each patch the lowest patch index of its segment; the
label ``P`` stands for "in no segment".
"""

import torch
from torch import Tensor

_UNITS = 2.0**40


def may_look(x: Tensor) -> bool:
    """Tell whether looking at values costs nothing, so that loops may end early.

    Args:
        x: Any tensor.

    Returns:
        True on the CPU, where no device has to be waited for.
    """
    return x.device.type == 'cpu'


def segment_sums(values: Tensor, segments: Tensor) -> Tensor:
    """Sum values over each segment.

    Args:
        values: ``(R, P)``.
        segments: Segmentation, ``(R, P)``.

    Returns:
        Sum of segment ``i`` in column ``i``; the last column is for what lies outside,
        and is 0, ``(R, P + 1)``.
    """
    table = values.new_zeros(len(values), values.shape[1] + 1)
    table.scatter_add_(1, segments, values)
    table[:, -1] = 0
    return table


def segment_sizes(segments: Tensor) -> Tensor:
    """Count the patches of each patch's segment.

    Args:
        segments: Segmentation, ``(R, P)``.

    Returns:
        ``(R, P)``, 0 outside.
    """
    return segment_sums(torch.ones_like(segments), segments).gather(1, segments)


def is_root(segments: Tensor) -> Tensor:
    """Mark the patches that give their segment its label: one per segment.

    Args:
        segments: Segmentation, ``(R, P)``.

    Returns:
        ``(R, P)``, bool.
    """
    return segments == torch.arange(segments.shape[1], device=segments.device)


def relabel(segments: Tensor) -> Tensor:
    """Make the lowest patch index the label again after segments lost patches.

    Args:
        segments: Labels in ``0..P``, ``(R, P)``.

    Returns:
        The segmentation, ``(R, P)``.
    """
    num = segments.shape[1]
    patch = torch.arange(num, device=segments.device).expand_as(segments)
    lowest = segments.new_full((len(segments), num + 1), num)
    lowest.scatter_reduce_(1, segments, patch, 'amin')
    lowest[:, -1] = num
    return lowest.gather(1, segments)


def exact_units(saliency: Tensor) -> Tensor:
    """Round saliency to integers, so that sums do not depend on their order.

    Args:
        saliency: Normalized, any shape.

    Returns:
        Multiples of ``2 ** -40``, float64, which holds their sums exactly up to 8,192
        patches.
    """
    return (saliency.double() * _UNITS).round()


def rank_segments(units: Tensor, segments: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """Order segments by mean saliency, ties by lowest patch index.

    Args:
        units: Result of :func:`exact_units`, ``(R, P)``.
        segments: Segmentation, ``(R, P)``.
        num: ``K``, at most ``P``.

    Returns:
        Labels of the first ``K`` segments, ``(R, K)``, and which of them exist,
        ``(R, K)``, bool.
    """
    size = segment_sums(torch.ones_like(units), segments)[:, :-1]
    mean = segment_sums(units, segments)[:, :-1] / size  # (R, P)
    mean = torch.where(size > 0, mean, -1.0)
    order = mean.sort(dim=1, descending=True, stable=True)
    return order.indices[:, :num], order.values[:, :num] >= 0
