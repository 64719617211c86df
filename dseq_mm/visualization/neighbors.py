"""Picture of the nearest neighbors of images.

Shape legend: ``q`` images that are asked for, ``K`` neighbors of each.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure


def draw_neighbors(
    asked: Sequence[np.ndarray],
    found: Sequence[Sequence[np.ndarray]],
    cosine: np.ndarray,
) -> Figure:
    """Draw a row per image: the image, then its neighbors from the nearest on.

    Args:
        asked: RGB images, ``q`` times ``(h, w, 3)``.
        found: The neighbors of each, ``q`` times ``K`` of the same.
        cosine: Of features, ``(q, K)``.

    Returns:
        The figure; save it with ``figure.savefig(path)``.
    """
    rows, columns = cosine.shape
    figure = Figure(figsize=(1.7 * (1 + columns), 1.95 * rows), layout='constrained')
    axes = figure.subplots(rows, 1 + columns, squeeze=False)
    for row in range(rows):
        for column, image in enumerate([asked[row], *found[row]]):
            axis = axes[row, column]
            axis.imshow(image)
            axis.set_xticks([])
            axis.set_yticks([])
            title = 'asked for' if not column else f'{cosine[row, column - 1]:.2f}'
            axis.set_title(title, fontsize=9)
        for spine in axes[row, 0].spines.values():
            spine.set(linewidth=2.5, edgecolor='#d7301f')
    return figure
