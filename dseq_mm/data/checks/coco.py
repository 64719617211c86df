"""Checks of an annotation file in COCO's format as mmdet's `CocoDataset` reads it.

mmdet leaves out silently what it does not know: classes that the file lacks, which
shifts the labels of the others, and boxes without area.
"""

import json
import os
from collections import Counter
from typing import Any

import mmengine
import numpy as np

from ...utils.command import nearest
from ..files import printable
from .findings import Findings, load_annotations_of, missing_files, show
from .masks import check_masks


def check_coco(dataset: Any) -> Findings:
    """Check the annotation file and the images of a data set.

    Args:
        dataset: A `CocoDataset` of mmdet; it need not be fully initialized.

    Returns:
        What was found.
    """
    found = Findings()
    content = _read(dataset, found)
    if content is None:
        return found
    images, annotations, categories = content
    kept_ids = _check_classes(dataset, categories, found)
    _check_ids(images, annotations, categories, found)
    _check_images(dataset, images, found)
    if not annotations:
        found.errors.append(
            'the annotation file has no annotation, so there is nothing to learn '
            '(image_info_*.json of COCO has none: take instances_*.json)'
        )
    elif not found.errors:
        _check_objects(dataset, images, annotations, kept_ids, found)
    found.errors = [f'{dataset.ann_file}: {line}' for line in found.errors]
    found.warnings = [f'{dataset.ann_file}: {line}' for line in found.warnings]
    return found


def _read(dataset: Any, found: Findings) -> tuple[list, list, list] | None:
    """Images, annotations and categories."""
    path = dataset.ann_file
    if '://' not in path and not os.path.isfile(path):
        found.errors.append(f'the annotation file {path} does not exist: set ann_file')
        return None
    try:
        text = mmengine.fileio.get_text(path, backend_args=dataset.backend_args)
        if text.startswith('\ufeff'):
            found.errors.append(
                f'{path} begins with a byte order mark (BOM), which no reader of JSON '
                'takes: save it as UTF-8 without BOM'
            )
            return None
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        found.errors.append(f'{path} is no JSON file ({error})')
        return None
    for part, keys in _WANTED.items():
        things = content.get(part) if isinstance(content, dict) else None
        if part == 'annotations' and isinstance(content, dict) and things is None:
            things = content[part] = []
        if not isinstance(things, list):
            found.errors.append(
                f'{path} has no list of {part}: it is not of COCO style'
            )
            return None
        _check_entries(path, part, things, keys, found)
    if found.errors:
        return None
    return content['images'], content['annotations'], content['categories']


def _check_entries(
    path: str, part: str, things: list, keys: dict[str, tuple], found: Findings
) -> None:
    """Entries have what mmdet needs, of types that it can work with."""
    strange = [i for i, thing in enumerate(things) if not isinstance(thing, dict)]
    if strange:
        found.errors.append(
            f'{path}: {len(strange):,} of {len(things):,} {part} are no dict (first: '
            f'number {strange[0]} is {_short(things[strange[0]])})'
        )
        return
    for key, (types, meaning) in keys.items():
        lacking = [i for i, thing in enumerate(things) if key not in thing]
        if lacking:
            found.errors.append(
                f'{path}: {len(lacking):,} of {len(things):,} {part} have no '
                f'{key!r}, which mmdet needs (first: number {lacking[0]})'
            )
        wrong = [
            i
            for i, thing in enumerate(things)
            if key in thing and types and type(thing[key]) not in types
        ]
        if wrong:
            found.errors.append(
                f'{path}: {len(wrong):,} of {len(things):,} {part} have a {key!r} that '
                f'is no {meaning} (first: number {wrong[0]} has '
                f'{_short(things[wrong[0]][key])})'
            )


def _short(value: Any) -> str:
    text = printable(repr(value))
    return text if len(text) <= 40 else f'{text[:40]}...'


_ID = ((int, str), 'whole number or text')
_TEXT = ((str,), 'text')
_ANY = ((), '')  # looked at later
#: Keys that mmdet reads, with their types.
_WANTED: dict[str, dict[str, tuple]] = dict(
    images=dict(id=_ID, file_name=_TEXT, width=_ANY, height=_ANY),
    annotations=dict(
        id=_ID,
        image_id=_ID,
        category_id=_ID,
        bbox=_ANY,
        area=((int, float), 'number'),
    ),
    categories=dict(id=_ID, name=_TEXT),
)


def _check_classes(dataset: Any, categories: list[dict], found: Findings) -> list:
    """Compare names of the config with those of the file; ids of those trained on."""
    classes = dataset.metainfo.get('classes') or ()
    names = [str(category['name']) for category in categories]
    if isinstance(classes, str):
        found.errors.append(
            f'metainfo.classes is the text {classes!r}, not a list of names: write '
            f"classes=('{classes}',) with a comma"
        )
        return []
    doubled = [name for name, times in Counter(map(str, classes)).items() if times > 1]
    if doubled:
        found.errors.append(
            f'{show(doubled, "classes of metainfo.classes", len(classes))} are there '
            'twice: name each class once'
        )
        return []
    if not names:
        found.errors.append(
            "its list of 'categories' is empty: add a dict with id and "
            'name for each class'
        )
        return []
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        found.errors.append(f'{show(twice, "names of categories")} are there twice')
    lacking = [name for name in map(str, classes) if name not in names]
    if lacking:
        near = nearest(lacking[0], names, 0.5) or next(
            (name for name in names if name.lower() == lacking[0].lower()), ''
        )
        advice = f'; did you mean {near!r} by {lacking[0]!r}?' if near else ''
        listed = ', '.join(repr(printable(name)) for name in names[:8])
        more = ', ...' if len(names) > 8 else ''
        found.errors.append(
            f'it lacks {show(lacking, "classes of metainfo.classes", len(classes))}'
            f'{advice} The file has {listed}{more}: set metainfo=dict(classes=(...)) '
            'to names in it'
        )
        return []
    used = [category for category in categories if str(category['name']) in classes]
    order = [str(category['name']) for category in used]
    if not twice and order != [*map(str, classes)]:
        listed = ', '.join(repr(name) for name in order[:8])
        found.errors.append(
            'its categories are in another order than metainfo.classes, and mmdet '
            'numbers the labels in the order of the file, so that names would be '
            f'exchanged: write the classes as ({listed}{", ..." * (len(order) > 8)})'
        )
    left = [name for name in names if name not in classes]
    if left:
        found.warnings.append(
            f'{show(left, "categories", len(names))} are not in metainfo.classes and '
            'are not trained on'
        )
    return [category['id'] for category in used]


def _check_ids(images, annotations, categories, found: Findings) -> None:
    """Ids are unique, and annotations name known images and categories."""
    known = {}
    parts = dict(images=images, annotations=annotations, categories=categories)
    for part, things in parts.items():
        ids = Counter(thing['id'] for thing in things)
        known[part] = ids
        twice = [key for key, times in ids.items() if times > 1]
        if twice:
            found.errors.append(
                f'{show(twice, f"ids of {part}")} are duplicate: give each its own'
            )
    for part, key in (('images', 'image_id'), ('categories', 'category_id')):
        lost = [thing['id'] for thing in annotations if thing[key] not in known[part]]
        if lost and known[part]:  # an empty list is told by others
            found.errors.append(
                f'{show(lost, "annotations", len(annotations))} have an unknown {key}: '
                f'no such id is among the {part}'
            )


def _check_images(dataset: Any, images: list[dict], found: Findings) -> None:
    if not images:
        found.errors.append('it lists no images')
        return
    prefix = dataset.data_prefix.get('img') or ''
    missing = missing_files(os.path.join(prefix, i['file_name']) for i in images)
    if missing:
        found.errors.append(
            f'{show(missing, "listed images", len(images))} do not exist as files: '
            'check data_root and data_prefix.img'
        )
    flat = [
        i['file_name']
        for i in images
        if not all(isinstance(i[key], int | float) and i[key] > 0 for key in _SIZE)
    ]
    if flat:
        found.errors.append(
            f'{show(flat, "images", len(images))} have no positive width and height'
        )
    times = Counter(i['file_name'] for i in images)
    if twice := [name for name, number in times.items() if number > 1]:
        found.warnings.append(f'{show(twice, "files")} are listed more than once')


_SIZE = ('width', 'height')


def _check_objects(dataset, images, annotations, kept_ids, found: Findings) -> None:
    """Boxes and masks of those objects that mmdet trains on."""
    wrong = [a['id'] for a in annotations if not _is_box(a['bbox'])]
    if wrong:
        found.errors.append(
            f'{show(wrong, "annotations", len(annotations))} have a bbox that is not '
            '[x, y, width, height] in numbers'
        )
        return
    boxes = np.array([a['bbox'] for a in annotations], float)
    sizes = {i['id']: (i['width'], i['height']) for i in images}
    size = np.array([sizes[a['image_id']] for a in annotations], float)
    corner, extent = boxes[:, :2], boxes[:, 2:]
    ends = corner + extent
    inside = np.minimum(ends, size) - np.maximum(corner, 0)
    area = np.array([a['area'] or 0 for a in annotations], float)
    usable = (inside > 0).all(1) & (extent >= 1).all(1) & (area > 0)
    ignored = np.array([bool(a.get('ignore')) for a in annotations])
    wanted = {*kept_ids}
    trained = np.array([a['category_id'] in wanted for a in annotations]) & ~ignored
    flat = np.flatnonzero(trained & ~usable)
    total = int(trained.sum())
    if len(flat):
        found.warnings.append(
            f'{len(flat):,} of {total:,} objects (first: annotation '
            f'{annotations[flat[0]]["id"]}) are left out, as their box has no area in '
            'the image or is smaller than one pixel, or their area is 0'
        )
    beyond = trained & usable & (ends > size + 1).any(1)
    if beyond.any():
        first = annotations[int(np.flatnonzero(beyond)[0])]
        found.warnings.append(
            f'{int(beyond.sum()):,} of {total:,} boxes (first: annotation '
            f'{first["id"]}) reach beyond their image: bbox is x, y, width and height '
            'in pixels, not two corners'
        )
    kept = np.flatnonzero(trained & usable)
    if not len(kept):
        found.errors.append(
            f'none of {len(annotations):,} annotations can be used: no box of a class '
            'in metainfo.classes has an area of a pixel (bbox is in pixels)'
        )
    if getattr(load_annotations_of(dataset), 'with_mask', False):
        check_masks([annotations[index] for index in kept], images, found)


def _is_box(box: Any) -> bool:
    return (
        isinstance(box, list)
        and len(box) == 4
        and all(isinstance(value, int | float) for value in box)
        and bool(np.isfinite(box).all())
    )
