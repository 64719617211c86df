"""Checks of images and label maps as mmseg's `BaseSegDataset` reads them.

mmseg takes the files that end in `img_suffix` and leaves out all others silently.
"""

import math
import os
from pathlib import Path
from typing import Any

import mmcv
import numpy as np

from ...utils.host import is_read
from ..files import SUFFIXES, is_hidden
from ..load_image import UNREADABLE
from .findings import Findings, load_annotations_of, missing_files, show

#: How many maps are read.
SAMPLES = 8


def check_maps(dataset: Any, number_of_classes: int | None = None) -> Findings:
    """Check the folders of a data set, and some of its maps.

    Args:
        dataset: A `BaseSegDataset` of mmseg; it need not be fully initialized.
        number_of_classes: That of the head, for data sets without class names.

    Returns:
        What was found.
    """
    found = Findings()
    if is_read(dataset):
        infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    else:
        infos = dataset.load_data_list()
    images = [info['img_path'] for info in infos]
    maps = [info['seg_map_path'] for info in infos if info.get('seg_map_path')]
    loader = load_annotations_of(dataset)
    _check_listing(dataset, images, maps, found)
    if not images or loader is None:
        return found
    if len(maps) < len(images):
        found.errors.append('no folder of maps is set: set data_prefix.seg_map_path')
        return found
    same = [path for path, label in zip(images, maps, strict=True) if path == label]
    if same:
        found.errors.append(
            f'{show(same, "images")} are their own maps: set data_prefix.seg_map_path '
            'or seg_map_suffix'
        )
    missing = missing_files(maps)
    if missing:
        found.errors.append(
            f'{show(missing, "images are without a map", len(images))}: that file does '
            'not exist. Check data_prefix.seg_map_path and seg_map_suffix='
            f'{dataset.seg_map_suffix!r}'
        )
    own = getattr(loader, 'reduce_zero_label', None)
    if own is not None and own != dataset.reduce_zero_label:
        found.errors.append(
            f'reduce_zero_label is {dataset.reduce_zero_label} in the data set, {own} '
            'in LoadAnnotations: set both alike'
        )
    if not found.errors:
        spread = np.unique(np.linspace(0, len(images) - 1, SAMPLES).astype(int))
        pairs = [(images[index], maps[index]) for index in spread]
        _check_values(dataset, pairs, number_of_classes, found)
    return found


def _check_listing(dataset: Any, images: list, maps: list, found: Findings) -> None:
    """Files that are not used."""
    folder = dataset.data_prefix.get('img_path') or ''
    suffix = dataset.img_suffix
    used = {os.path.normpath(path) for path in [*images, *maps]}
    listed = bool(dataset.ann_file) and not os.path.isdir(dataset.ann_file)
    if listed and (missing := missing_files(images)):
        found.errors.append(
            f'{show(missing, "listed images", len(images))} do not exist as files: '
            f'check data_prefix.img_path, {dataset.ann_file} and img_suffix={suffix!r}'
        )
    inner = dataset.data_prefix.get('seg_map_path')
    others = []
    if not listed:
        others = [
            path
            for path in _image_files(folder, besides=inner)
            if path not in used and not path.endswith(suffix)
        ]
    advice = f'img_suffix={suffix!r} takes one suffix: convert them, or set img_suffix'
    if not images:
        which = f'; it has {show(others, "other images")}' if others else ''
        found.errors.append(
            f'there is no image in {folder} whose name ends in {suffix!r}{which}. Set '
            'data_root, data_prefix.img_path and img_suffix'
        )
    elif others:
        found.warnings.append(
            f'{show(others, "images")} are left out, as their names do not end as '
            f'those of the {len(images):,} others; {advice}'
        )
    if inner and not listed and images and os.path.isdir(inner):
        ending = dataset.seg_map_suffix
        alone = [
            path
            for path in _image_files(inner, besides=folder)
            if path.endswith(ending) and path not in used
        ]
        if alone and os.path.normpath(inner) != os.path.normpath(folder):
            found.warnings.append(
                f'{show(alone, "maps")} are without an image that is used'
            )


def _image_files(folder: str, besides: str | None) -> list[str]:
    """Images under a local folder, without those under another one in it."""
    paths, skipped = [], os.path.normpath(besides) if besides else None
    for place, folders, names in os.walk(folder, followlinks=False):
        folders[:] = [
            name
            for name in folders
            if not is_hidden(name)
            and os.path.normpath(os.path.join(place, name)) != skipped
        ]
        paths += [
            os.path.normpath(os.path.join(place, name))
            for name in names
            if name.lower().endswith(SUFFIXES) and not is_hidden(name)
        ]
    return sorted(paths)


def _check_values(
    dataset: Any, pairs: list[tuple[str, str]], number: int | None, found: Findings
) -> None:
    """Size and labels of some maps."""
    classes = dataset.label_map or dataset.metainfo.get('classes') or ()
    number = len(classes) or number
    reduce = dataset.reduce_zero_label
    most = math.inf if number is None else number - 1 + reduce
    seen: set[int] = set()
    wrong: dict[str, list[str]] = {}
    for image, path in pairs:
        kind, labels = _read_map(image, path)
        labels = labels - {dataset.ignore_index, 255}
        if not kind and (top := max(labels, default=0)) > most:
            kind = f'have labels beyond {most}, the largest of {number} classes'
            path = f'{path}, label {top}'
        seen |= labels
        if kind:
            wrong.setdefault(kind, []).append(path)
    for kind, paths in wrong.items():
        advice = ''
        if kind.startswith('have labels') and not reduce:
            advice = (
                ': add the missing classes, or, if 0 stands for no label, set '
                'reduce_zero_label=True'
            )
        found.errors.append(f'{show(paths, "sampled maps", len(pairs))} {kind}{advice}')
    if wrong or number is None or type(dataset).METAINFO.get('classes'):
        return
    if reduce and seen == {0}:
        found.errors.append(
            'the sampled maps have no label but 0, which reduce_zero_label=True ignores'
        )
    elif reduce and 0 in seen and max(seen) < most:
        found.warnings.append(
            f'reduce_zero_label=True: pixels of label 0 are ignored and label 1 is the '
            f'first class, but the largest label of the sampled maps is {max(seen)}, '
            f'with {number} classes. If 0 is the first class, set '
            'reduce_zero_label=False'
        )
    elif number > 1 and seen <= {0}:
        found.warnings.append(
            'the sampled maps have no label but 0 and 255, and 255 is ignored: number '
            'the classes 0, 1, 2, ...'
        )


def _read_map(image: str, path: str) -> tuple[str, set[int]]:
    """What is wrong with a map, if anything, and its labels."""
    try:
        labels = mmcv.imfrombytes(
            Path(path).read_bytes(), flag='unchanged', backend='pillow'
        )
    except UNREADABLE:
        return 'cannot be decoded', set()
    labels = labels.squeeze()
    if labels.ndim != 2:
        return (
            'are in color (RGB): a map has one channel whose values are the numbers of '
            'the classes',
            set(),
        )
    if labels.dtype.kind not in 'bui':
        return 'do not hold whole numbers', set()
    try:
        picture = mmcv.imfrombytes(Path(image).read_bytes())
        shape = picture.shape[:2] if picture is not None else None
    except UNREADABLE:
        shape = None
    if shape is None:
        return f'have an image that cannot be decoded ({image})', set()
    if shape != labels.shape:
        return (
            f'differ in size from their image (height and width {labels.shape}, image '
            f'{shape})',
            set(),
        )
    return '', {int(value) for value in np.unique(labels)}
