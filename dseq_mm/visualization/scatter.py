"""A map of images in the plane."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from .grid import shown_pixels

_THUMBNAILS = 150  # of more images there are dots
_GROUPS = 20  # that have colors of their own


def draw_map(
    plane: np.ndarray,
    images: Sequence[np.ndarray],
    groups: Sequence[str],
    title: str = '',
) -> Figure:
    """Draw images, or dots where there are many, at their places in the plane.

    Args:
        plane: ``(B, 2)``.
        images: RGB, ``(h, w, 3)`` each.
        groups: Name of each image's group, such as its folder.
        title: A line above.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(8, 7), layout='constrained')
    axis = figure.subplots()
    names = sorted(set(groups))
    for number, name in enumerate(names):
        chosen = np.array([group == name for group in groups])
        several = 1 < len(names) <= _GROUPS
        color = f'C{number % 10}' if several else '#4477aa'
        axis.scatter(
            plane[chosen, 0],
            plane[chosen, 1],
            s=18,
            color=color,
            marker='o' if number < 10 else '^',
            label=name if several else None,
        )
    if len(images) <= _THUMBNAILS:
        for place, image in zip(plane, images, strict=True):
            small = shown_pixels(image, 64)
            box = OffsetImage(small, zoom=34 / max(small.shape[:2]))
            axis.add_artist(AnnotationBbox(box, place, frameon=False))
    if 1 < len(names) <= _GROUPS:
        figure.legend(loc='outside right upper', fontsize=8)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title(title, fontsize=10)
    return figure
