"""Checks of masks in COCO's format: polygons or run lengths (RLE)."""

import math
from typing import Any

from .findings import Findings, show


def check_masks(annotations: list[dict], images: list[dict], found: Findings) -> None:
    """Check that each object has a mask that mmdet can draw.

    Args:
        annotations: Those whose masks are trained on.
        images: All images of the file, with `width` and `height`.
        found: Takes the lines.
    """
    kinds: dict[str, list[dict]] = {}
    for annotation in annotations:
        kind = _kind_of(annotation.get('segmentation'))
        if kind != 'good':
            kinds.setdefault(kind, []).append(annotation)

    def told(kind: str) -> str:
        """Name the annotations of a kind."""
        ids = [annotation['id'] for annotation in kinds[kind]]
        return show(ids, 'annotations', len(annotations))

    if 'empty' in kinds:
        found.errors.append(
            f"{told('empty')} have no or an empty 'segmentation', but the pipeline "
            'loads masks (LoadAnnotations with_mask=True): add their polygons, take '
            'them out, or train a model without masks'
        )
    if 'strange' in kinds:
        found.errors.append(
            f"{told('strange')} have a 'segmentation' that is neither a list of "
            'polygons [[x1, y1, x2, y2, x3, y3, ...], ...] in numbers nor run lengths '
            "(a dict with 'size' [height, width] and 'counts')"
        )
    if 'short' in kinds:
        found.warnings.append(
            f'{told("short")} have no polygon of three points [x1, y1, x2, y2, x3, y3, '
            '...]; mmdet ignores them'
        )
    _check_runs(kinds.get('runs', []), images, len(annotations), found)


def _check_runs(
    annotations: list[dict], images: list[dict], total: int, found: Findings
) -> None:
    """Run lengths are of the size of their image and cover it."""
    sizes = {i['id']: [i['height'], i['width']] for i in images}
    other, broken = [], []
    for annotation in annotations:
        size = sizes.get(annotation['image_id'])
        runs = annotation['segmentation']
        if size is None:  # that is told by others
            continue
        if runs['size'] != size:
            other.append(annotation)
        elif isinstance(runs['counts'], list) and sum(runs['counts']) != math.prod(
            size
        ):
            broken.append(annotation)
    if other:
        first = other[0]
        found.errors.append(
            f'{show([a["id"] for a in other], "annotations", total)} have run lengths '
            f'of the size {first["segmentation"]["size"]}, but their image is '
            f'{sizes[first["image_id"]]}: size is [height, width] of the image'
        )
    if broken:
        found.errors.append(
            f'{show([a["id"] for a in broken], "annotations", total)} have run lengths '
            'whose sum is not height times width of their image: counts must cover all '
            'pixels'
        )


def _kind_of(mask: Any) -> str:
    """Whether a mask is good, short, empty or strange, or runs to be looked at."""
    if not mask:
        return 'empty'
    if isinstance(mask, dict):
        return 'runs' if _is_rle(mask) else 'strange'
    if not isinstance(mask, list) or not all(map(_is_polygon, mask)):
        return 'strange'
    drawn = any(len(part) >= 6 and len(part) % 2 == 0 for part in mask)
    return 'good' if drawn else 'short'


def _is_polygon(part: Any) -> bool:
    """A list of finite numbers."""
    return (
        isinstance(part, list)
        and {*map(type, part)} <= {int, float}
        and math.isfinite(sum(part))
    )


def _is_rle(mask: dict) -> bool:
    size, counts = mask.get('size'), mask.get('counts')
    if not (isinstance(size, list) and len(size) == 2 and _are_whole(size)):
        return False
    if isinstance(counts, list):
        return bool(counts) and _are_whole(counts)
    return isinstance(counts, str) and bool(counts)


def _are_whole(numbers: list) -> bool:
    """Whole numbers from 0."""
    return {*map(type, numbers)} == {int} and min(numbers) >= 0
