"""Whether saliency and first region are where images show something.

Shape legend: ``B`` images, ``(H, W)`` patches.
"""

import torch
from torch import Tensor


def saliency_auc(saliency: Tensor, figure: Tensor, ground: Tensor) -> Tensor:
    """Compute how well the saliency tells figure from ground, over pixels.

    It is the probability that a pixel of the figure has a higher saliency than one of
    the ground, ties counted half; the pixels of a patch have that of the patch.

    Args:
        saliency: ``(B, H, W)``, any range.
        figure: Share of each patch that is figure, ``(B, H, W)``.
        ground: The same of the ground.

    Returns:
        ``(B,)``, float64: 1 if it is the mask, 0.5 if it says nothing, 0 if it is the
        inverse; NaN of images without figure or without ground.
    """
    flat = saliency.flatten(1).double()  # (B, H, W) -> (B, P)
    order = flat.argsort(1)
    values = flat.gather(1, order)
    figure = figure.flatten(1).double().gather(1, order)  # (B, P), by saliency
    ground = ground.flatten(1).double().gather(1, order)
    # of ties: ground below is what lies before the first equal, and half of the equal
    first = torch.searchsorted(values, values)
    past = torch.searchsorted(values, values, right=True)
    below = torch.nn.functional.pad(ground.cumsum(1), (1, 0))  # (B, P + 1)
    beaten = (below.gather(1, first) + below.gather(1, past)) / 2
    return (figure * beaten).sum(1) / (figure.sum(1) * ground.sum(1))


def first_region_overlap(rank: Tensor, figure: Tensor, ground: Tensor) -> Tensor:
    """Compute how much R1 and the figure have in common, over pixels.

    Args:
        rank: Rank of each patch's region, ``(B, H, W)``; R1 has 0.
        figure: As for :func:`saliency_auc`.
        ground: The same.

    Returns:
        ``(3, B)``, float64: the share of R1 that is figure, the share of the image
        that is, and intersection of R1 and figure over their union. Pixels that are
        neither do not count; NaN where nothing is left.
    """
    first = (rank == 0).double().flatten(1)  # (B, H, W) -> (B, P)
    figure, ground = figure.flatten(1).double(), ground.flatten(1).double()
    counted = figure + ground
    within, size = (first * figure).sum(1), (first * counted).sum(1)
    whole = figure.sum(1)
    return torch.stack(
        [within / size, whole / counted.sum(1), within / (whole + size - within)]
    )


def alignment(
    saliency: Tensor, rank: Tensor | None, figure: Tensor, ground: Tensor
) -> dict[str, Tensor]:
    """Compute all of it, for each image.

    Args:
        saliency: ``(B, H, W)``.
        rank: ``(B, H, W)``, or None where there are no regions.
        figure: Share of each patch that is figure, ``(B, H, W)``.
        ground: The same of the ground.

    Returns:
        ``saliency_auc`` and, with regions, ``r1_figure``, ``figure`` and ``r1_iou``,
        each ``(B,)``.
    """
    found = dict(saliency_auc=saliency_auc(saliency, figure, ground))
    if rank is not None:
        names = ('r1_figure', 'figure', 'r1_iou')
        values = first_region_overlap(rank, figure, ground)
        found.update(zip(names, values, strict=True))
    return found
