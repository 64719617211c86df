"""Picture of a sample: the image, its saliency, and its regions in order.

Shape legend: ``B`` images, ``(h, w)`` pixels, ``(H, W)`` patches, ``N`` regions.
"""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ..regions import Source

#: Colors of R1 to R(N-1), from the most to the least discriminative; the rest is gray.
_COLORS = ('#d7301f', '#fc8d59', '#fdcc8a', '#a6bddb', '#74a9cf', '#2b8cbe', '#045a8d')


def draw_regions(
    images: np.ndarray,
    saliency: np.ndarray,
    rank: np.ndarray,
    source: np.ndarray,
    titles: Sequence[str] | None = None,
) -> Figure:
    """Draw a row per image: image, saliency over it, ordered regions.

    Args:
        images: RGB, ``(B, h, w, 3)``, uint8.
        saliency: ``(B, H, W)``, any range; degenerate maps are drawn black.
        rank: Rank of each patch's region, ``(B, H, W)``, from 0.
        source: Where each region came from, :class:`~dseq_mm.regions.Source`,
            ``(B, N)``. Random regions are hatched.
        titles: A line above each image.

    Returns:
        The figure; save it with ``figure.savefig(path)``.
    """
    count, num_regions = source.shape
    figure = Figure(figsize=(7.2, 2.2 * count + 0.7), layout='constrained')
    axes = figure.subplots(count, 3, squeeze=False)
    for row in range(count):
        height, width = images[row].shape[:2]
        extent = (0, width, height, 0)
        for axis in axes[row]:
            axis.imshow(images[row], extent=extent, interpolation='nearest')
            axis.set_xticks([])
            axis.set_yticks([])
        low, high = np.nanmin(saliency[row]), np.nanmax(saliency[row])
        axes[row, 1].imshow(
            np.nan_to_num((saliency[row] - low) / (high - low + 1e-6)),
            extent=extent,
            cmap='inferno',
            alpha=0.8,
            vmin=0,
            vmax=1,
            interpolation='nearest',
        )
        paint_regions(axes[row, 2], rank[row], source[row], extent)
        if titles is not None:
            axes[row, 0].set_title(titles[row], fontsize=8)
    for axis, title in zip(
        axes[0], ('image', 'saliency', 'regions in order'), strict=False
    ):
        label = axis.get_title()
        axis.set_title(f'{title}\n{label}' if label else title, fontsize=9)
    handles = [
        Patch(color=region_color(step, num_regions), label=f'R{step + 1}')
        for step in range(num_regions)
    ]
    handles.append(Patch(fill=False, hatch='///', label='random'))
    figure.legend(handles=handles, loc='outside lower center', ncols=8, fontsize=8)
    return figure


def paint_regions(axis, rank: np.ndarray, source: np.ndarray, extent) -> None:
    """Color each patch by its rank and write the rank at the region's middle.

    Args:
        axis: Where to.
        rank: Rank of each patch's region, ``(H, W)``.
        source: Where each region came from, ``(N,)``.
        extent: Left, right, bottom and top of the picture.
    """
    num_regions = len(source)
    rows, columns = rank.shape
    colors = np.array(
        [
            matplotlib.colors.to_rgb(region_color(r, num_regions))
            for r in range(num_regions)
        ]
    )
    axis.imshow(colors[rank], extent=extent, alpha=0.65, interpolation='nearest')
    cell_h, cell_w = extent[2] / rows, extent[1] / columns
    for step in range(num_regions):
        inside = np.argwhere(rank == step)
        if len(inside) == 0:
            continue
        if source[step] == Source.RANDOM:
            for y, x in inside:
                axis.add_patch(
                    matplotlib.patches.Rectangle(
                        (x * cell_w, y * cell_h),
                        cell_w,
                        cell_h,
                        fill=False,
                        hatch='///',
                        linewidth=0,
                        alpha=0.4,
                    )
                )
        # the patch nearest to the centroid: irregular regions may not hold their own
        y, x = inside[((inside - inside.mean(0)) ** 2).sum(1).argmin()] + 0.5
        axis.text(
            x * cell_w,
            y * cell_h,
            str(step + 1),
            ha='center',
            va='center',
            fontsize=10,
            weight='bold',
        )


def region_color(step: int, num_regions: int) -> str:
    """Tell the color of a rank; the last region is gray.

    Args:
        step: The rank, from 0.
        num_regions: ``N``.

    Returns:
        As matplotlib reads it.
    """
    if step == num_regions - 1:
        return '#bdbdbd'
    return _COLORS[step % len(_COLORS)]
