"""Pages of pictures: what encoders make of any images. No config is needed.

Shape legend: ``(H, W)`` patches, ``h`` heads.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from ..regions.search import otsu_threshold
from ..regions.selection import normalize_saliency
from ..utils.values import is_count
from ..visualization.grid import Cell, draw_grid
from ..visualization.patches import (
    CLUSTER_COLORS,
    cluster_patches,
    match_clusters,
    pca_colors,
    similarity_to,
)
from ..visualization.regions import paint_regions, region_color
from .encoder_file import Encoder
from .image_regions import ImageRegions, find_regions
from .pictures import Picture, class_attention, patch_tokens

Encoders = Mapping[str, Encoder]


def regions_page(encoders: Encoders, pictures: Sequence[Picture], **rule) -> Figure:
    """Draw saliency, Otsu map and ordered regions, for each encoder beside the other.

    Where an encoder has no class token, its saliency is the distance from the mean
    patch, and the page says so.

    Args:
        encoders: By name.
        pictures: The images.
        **rule: ``num_regions`` and ``saliency`` of :func:`.find_regions`.

    Returns:
        The page: above each map of regions the mean saliency of each, from 0 to 1.
    """
    columns, rows = ['image'], [[Cell(picture.shown)] for picture in pictures]
    for name, encoder in encoders.items():
        word, options = _saliency_of(encoder, rule)
        head = f'{name}\n' if len(encoders) > 1 else ''
        columns += [f'{head}{word}', f'{head}Otsu', f'{head}regions in order']
        for row, picture in zip(rows, pictures, strict=True):
            found = find_regions(encoder, picture.batch, **options)
            row += _region_cells(picture, found)
    return draw_grid(rows, columns)


def _saliency_of(encoder: Encoder, rule: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What its saliency is called, and settings of :func:`find_regions`."""
    asked = rule.get('saliency') or encoder.regions.get('saliency')
    if asked or encoder.backbone.cls_token is not None:
        return 'saliency', rule
    block = max(0, encoder.backbone.num_layers - 3)
    contrast = dict(type='dseq_mm.TokenContrast', block=block)
    return 'distance from the mean patch', {**rule, 'saliency': contrast}


def _region_cells(picture: Picture, found: ImageRegions) -> list[Cell]:
    """Saliency, Otsu map and regions of one image."""
    saliency = normalize_saliency(found.saliency)[0][0].numpy()  # (H, W)
    rank, source = found.rank[0].numpy(), found.source[0].numpy()
    levels = (saliency * 255).astype(np.int64).ravel()
    otsu = levels > otsu_threshold(levels, np.arange(levels.size), 255)
    scores = [saliency[rank == step] for step in range(len(source) - 1)]
    texts = [f'{part.mean():.2f}' if part.size else '-' for part in scores]
    return [
        Cell(picture.shown, saliency, 0.8, limits=(0, 1)),
        Cell(picture.shown, otsu.reshape(rank.shape), 0.8, limits=(0, 1)),
        Cell(
            picture.shown,
            title='  '.join(texts),
            paint=lambda axis, extent: paint_regions(axis, rank, source, extent),
        ),
    ]


def steps_page(encoders: Encoders, pictures: Sequence[Picture], **rule) -> Figure:
    """Draw context and targets of each step of prediction; what is hidden is white.

    Args:
        encoders: By name; a row for each with each image.
        pictures: The images.
        **rule: As for :func:`regions_page`.

    Returns:
        The page.
    """
    rows, labels = [], []
    for picture in pictures:
        for name, encoder in encoders.items():
            found = find_regions(
                encoder, picture.batch, **_saliency_of(encoder, rule)[1]
            )
            rank, count = found.rank[0].numpy(), found.source.shape[1]
            cells = [Cell(picture.shown)]
            for step in range(1, count):
                shade = np.ones((*rank.shape, 4))
                shade[rank < step, 3] = 0.0
                shade[rank > step, 3] = 0.92
                shade[rank == step] = (*to_rgb(region_color(step, count)), 0.75)
                cells.append(Cell(picture.shown, shade))
            rows.append(cells)
            labels.append(name if len(encoders) > 1 else '')
    last = len(rows[0])
    columns = [f'R{step + 1} from R1 to R{step}' for step in range(2, last)]
    return draw_grid(rows, ['image', 'R2 from R1', *columns], labels)


def attention_page(
    encoders: Encoders,
    pictures: Sequence[Picture],
    layer: int | None = None,
    by: str = 'heads',
) -> Figure:
    """Draw what the class token attends to, by heads of one layer or by layers.

    Args:
        encoders: By name; a row for each with each image.
        pictures: The images.
        layer: Counted from 0; the last one by default.
        by: 'heads', or 'layers', each the mean over heads.

    Returns:
        The page; each map has a scale of its own.

    Raises:
        ValueError: An encoder has no class token, no such layer, or other heads.
    """
    rows, labels, columns = [], [], ['image']
    for picture in pictures:
        for name, encoder in encoders.items():
            maps = class_attention(encoder, picture)  # (layers, h, H, W)
            if by == 'layers':
                shown = maps.mean(1)
                columns = ['image', *(f'layer {i}' for i in range(len(shown)))]
            else:
                chosen = len(maps) - 1 if layer is None else layer
                if not 0 <= chosen < len(maps):
                    raise ValueError(f'layer {layer}: {name} has {len(maps)}, from 0')
                shown = np.concatenate([maps[chosen].mean(0)[None], maps[chosen]])
                heads = (f'head {i}' for i in range(maps.shape[1]))
                columns = ['image', f'layer {chosen}, mean', *heads]
            rows.append([Cell(picture.shown), *(Cell(picture.shown, m) for m in shown)])
            labels.append(name if len(encoders) > 1 else '')
    if len({len(row) for row in rows}) > 1:
        raise ValueError(
            f'the encoders have other numbers of {by}: draw them one by one'
        )
    return draw_grid(rows, columns, labels)


def pca_page(encoders: Encoders, pictures: Sequence[Picture]) -> Figure:
    """Draw the three largest principal components of patch tokens as colors.

    Args:
        encoders: By name; a column for each.
        pictures: The images; the components are those of all together.

    Returns:
        The page.
    """
    rows = [[Cell(picture.shown)] for picture in pictures]
    for encoder in encoders.values():
        colors = pca_colors([patch_tokens(encoder, picture) for picture in pictures])
        for row, picture, color in zip(rows, pictures, colors, strict=True):
            row.append(Cell(picture.shown, color))
    return draw_grid(rows, ['image', *encoders])


def similarity_page(
    encoders: Encoders,
    pictures: Sequence[Picture],
    patch: tuple[float, float] = (0.5, 0.5),
) -> Figure:
    """Draw the cosine of one patch and all others.

    Args:
        encoders: By name; a column for each.
        pictures: The images.
        patch: Where the patch is, as shares of height and width.

    Returns:
        The page: the patch is marked, colors go from the least to the largest cosine,
        which stand above.

    Raises:
        ValueError: The place is outside of the image.
    """
    if not all(0 <= share <= 1 for share in patch):
        raise ValueError(f'a patch lies between 0 and 1 both ways, not at {patch}')

    def mark(axis, extent) -> None:
        """Mark the patch."""
        axis.plot(extent[1] * patch[1], extent[2] * patch[0], 'o', **_MARK)

    rows = []
    for picture in pictures:
        cells = [Cell(picture.shown, paint=mark)]
        for encoder in encoders.values():
            tokens = patch_tokens(encoder, picture)
            place = [
                min(int(s * n), n - 1)
                for s, n in zip(patch, tokens.shape[:2], strict=True)
            ]
            cosine = similarity_to(tokens, (place[0], place[1]))
            title = f'{cosine.min():.2f} to {cosine.max():.2f}'
            cells.append(Cell(picture.shown, cosine, 0.85, title, mark))
        rows.append(cells)
    return draw_grid(rows, ['image', *encoders])


def clusters_page(
    encoders: Encoders, pictures: Sequence[Picture], counts: Sequence[int] = (4, 5)
) -> Figure:
    """Draw clusters of the patches of each image, as in the paper's figures.

    Args:
        encoders: By name, such as the checkpoints of one training in order; colors of
            one are matched to those of the one before.
        pictures: The images, each clustered alone.
        counts: Numbers of clusters.

    Returns:
        The page.
    """
    palette, rows = np.array(CLUSTER_COLORS), []
    if not counts or not all(is_count(k, 2, len(palette)) for k in counts):
        raise ValueError(f'clusters are 2 to {len(palette)}, not {[*counts]}')
    for picture in pictures:
        tokens = [patch_tokens(encoder, picture) for encoder in encoders.values()]
        cells = [Cell(picture.shown)]
        for count in counts:
            before = None
            for each in tokens:
                found = cluster_patches(each, count)
                found = found if before is None else match_clusters(found, before)
                before = found
                cells.append(Cell(picture.shown, palette[found], 0.75))
        rows.append(cells)
    names = [f'{name}, k = {k}' for k in counts for name in encoders]
    return draw_grid(rows, ['image', *names])


#: What a page shows, by the word for it. All take encoders by name and pictures.
PAGES: dict[str, Callable[..., Figure]] = dict(
    regions=regions_page,
    steps=steps_page,
    attention=attention_page,
    pca=pca_page,
    similarity=similarity_page,
    clusters=clusters_page,
)
_MARK = dict(markersize=6, markerfacecolor='none', markeredgecolor='#00e5ff')
