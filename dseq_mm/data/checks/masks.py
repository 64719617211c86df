"""Checks of masks in COCO's format: polygons or run lengths (RLE)."""

from collections.abc import Callable
from math import isfinite
from typing import Any

from .findings import Findings, show


def check_masks(annotations: list[dict], images: list[dict], found: Findings) -> None:
    """Check that each object has a mask that mmdet can draw.

    Args:
        annotations: Those whose masks are trained on.
        images: All images of the file, with `width` and `height`.
        found: Takes the lines.
    """
    total = len(annotations)

    def those(is_so: Callable[[Any], bool]) -> list:
        return [a['id'] for a in annotations if is_so(a.get('segmentation'))]

    if empty := those(lambda mask: not mask):
        found.errors.append(
            f'{show(empty, "annotations", total)} have no or an empty '
            "'segmentation', but the pipeline loads masks (LoadAnnotations with_mask="
            'True): add their polygons, take them out, or train a model without masks'
        )
    if strange := those(
        lambda mask: mask and not (_is_polygons(mask) or _is_rle(mask))
    ):
        found.errors.append(
            f"{show(strange, 'annotations', total)} have a 'segmentation' that is "
            'neither a list of polygons [[x1, y1, x2, y2, x3, y3, ...], ...] in '
            "numbers nor run lengths (a dict with 'size' and 'counts')"
        )
    if short := those(
        lambda mask: (
            mask and _is_polygons(mask) and not any(_has_area(part) for part in mask)
        )
    ):
        found.warnings.append(
            f'{show(short, "annotations", total)} have no polygon of three '
            'points [x1, y1, x2, y2, x3, y3, ...]; mmdet ignores them'
        )
    _check_sizes(annotations, images, found)


def _check_sizes(annotations: list[dict], images: list[dict], found: Findings) -> None:
    """Run lengths are of the size of their image."""
    sizes = {i['id']: [i['height'], i['width']] for i in images}
    runs = [
        a
        for a in annotations
        if _is_rle(a.get('segmentation')) and a['image_id'] in sizes
    ]
    other = [a for a in runs if a['segmentation']['size'] != sizes[a['image_id']]]
    if other:
        found.errors.append(
            f'{show([a["id"] for a in other], "annotations", len(annotations))} have '
            f'run lengths of the size {other[0]["segmentation"]["size"]}, but their '
            f'image is {sizes[other[0]["image_id"]]}: size is [height, width] of the '
            'image'
        )
        return
    broken = []
    for annotation in runs:
        counts, (height, width) = (annotation['segmentation'][key] for key in _KEYS)
        if isinstance(counts, list) and sum(counts) != height * width:
            broken.append(annotation['id'])
    if broken:
        found.errors.append(
            f'{show(broken, "annotations", len(annotations))} have run lengths whose '
            'sum is not height times width of their image: counts must cover all pixels'
        )


_KEYS = ('counts', 'size')


def _is_polygons(mask: Any) -> bool:
    """A list of lists of finite numbers."""
    return isinstance(mask, list) and all(
        isinstance(part, list)
        and {*map(type, part)} <= {int, float}
        and isfinite(sum(part))
        for part in mask
    )


def _has_area(polygon: list) -> bool:
    return len(polygon) >= 6 and len(polygon) % 2 == 0


def _is_rle(mask: Any) -> bool:
    if not isinstance(mask, dict) or not isinstance(mask.get('size'), list):
        return False
    counts = mask.get('counts')
    whole = (
        isinstance(counts, list) and {*map(type, counts)} == {int} and min(counts) >= 0
    )
    return whole or (isinstance(counts, str) and bool(counts))
