"""A page of pictures: rows of images, each with what is said of its patches.

Shape legend: ``(h, w)`` pixels, ``(H, W)`` patches.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

#: Height of a row in inches, and room for titles.
_ROW, _TITLES = 1.9, 0.55


@dataclass
class Cell:
    """One picture of a page.

    Attributes:
        image: RGB, ``(h, w, 3)``, uint8.
        overlay: Laid over it, ``(H, W)`` of any range or colors ``(H, W, 3)`` from 0
            to 1; None for the image alone.
        alpha: How much it covers.
        title: A line above.
        paint: Draws more onto an axis, given it and ``(left, right, bottom, top)``.
        limits: Least and largest value of the overlay; its own by default.
    """

    image: np.ndarray
    overlay: np.ndarray | None = None
    alpha: float = 1.0
    title: str = ''
    paint: Callable[[Any, tuple[int, int, int, int]], None] | None = None
    limits: tuple[float, float] | None = None


def draw_grid(
    rows: Sequence[Sequence[Cell]],
    columns: Sequence[str] = (),
    labels: Sequence[str] = (),
    title: str = '',
) -> Figure:
    """Draw a page.

    Args:
        rows: Pictures, as many in each row.
        columns: A title above each column.
        labels: A line beside each row.
        title: A line above all.

    Returns:
        The figure; save it with ``figure.savefig(path)``.
    """
    shape = len(rows), len(rows[0])
    ratios = [row[0].image.shape[1] / row[0].image.shape[0] for row in rows]
    wide = float(np.mean([min(ratio, 3.0) for ratio in ratios]))
    size = max(3.0, shape[1] * _ROW * wide), shape[0] * _ROW + _TITLES
    figure = Figure(figsize=size, layout='constrained')
    axes = figure.subplots(*shape, squeeze=False)
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            axis = axes[row, column]
            head = columns[column] if row == 0 and columns else ''
            text = '\n'.join(filter(None, (head, cell.title)))
            axis.set_title(text, fontsize=8)
            _draw_cell(axis, cell)
        if labels:
            axes[row, 0].set_ylabel(labels[row], fontsize=8)
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def _draw_cell(axis, cell: Cell) -> None:
    height, width = cell.image.shape[:2]
    extent = (0, width, height, 0)
    axis.imshow(cell.image, extent=extent, interpolation='nearest')
    if cell.overlay is not None:
        low, high = cell.limits or (None, None)
        axis.imshow(
            np.nan_to_num(cell.overlay),
            extent=extent,
            cmap='inferno',
            alpha=cell.alpha,
            vmin=low,
            vmax=high,
            interpolation='nearest',
        )
    if cell.paint is not None:
        cell.paint(axis, extent)
    axis.set_xlim(0, width)
    axis.set_ylim(height, 0)
    axis.set_xticks([])
    axis.set_yticks([])


def shown_pixels(image: np.ndarray, side: int = 320) -> np.ndarray:
    """Shrink an image to what a page can show.

    Args:
        image: ``(h, w, 3)``.
        side: Its long side at most.

    Returns:
        The same, or a smaller one.
    """
    import cv2

    scale = side / max(image.shape[:2])
    if scale >= 1:
        return image
    size = round(image.shape[1] * scale), round(image.shape[0] * scale)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
