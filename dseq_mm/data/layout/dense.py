"""Checks of data sets with boxes, masks or maps: COCO, ADE20K, DigitScenes.

mmdet and mmseg, which read them, are imported when a check needs them.
"""

import contextlib
import importlib
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import mmcv
import numpy as np

from dseq_mm.data.checks import Findings
from dseq_mm.data.checks.masks import check_masks
from dseq_mm.data.clevr import SingleTaskDataset
from dseq_mm.data.digit_files import MANIFEST
from dseq_mm.data.digit_scenes import CLASSES
from dseq_mm.data.keyed_dataset import UNREADABLE
from dseq_mm.data.layout.classification import check_folders, compare_classes, paths_of
from dseq_mm.data.layout.report import Report, brief
from dseq_mm.utils.files import read_json


def check_coco(report: Report) -> None:
    """Check COCO 2017 with pycocotools and as mmdet's `CocoDataset` reads it.

    Args:
        report: Takes the lines.
    """
    reader = _import_reader(report, 'mmdet', 'CocoDataset')
    names = reader.METAINFO['classes'] if reader else None
    for split in ('train', 'val'):
        file, folder = f'annotations/instances_{split}2017.json', f'{split}2017'
        if report.require(file, folder):
            number = report.facts.numbers[split]
            check_instances(report, file, folder, number, names, reader)


def check_ade20k(report: Report) -> None:
    """Check ADE20K as mmseg's `ADE20KDataset` reads it.

    Args:
        report: Takes the lines.
    """
    reader = _import_reader(report, 'mmseg', 'ADE20KDataset')
    numbers = report.facts.numbers
    for split in ('training', 'validation'):
        images, maps = f'images/{split}', f'annotations/{split}'
        if report.require(images, maps) and reader:
            check_maps(report, images, maps, numbers[split], numbers['classes'], reader)


def check_digitscenes(report: Report) -> None:
    """Check a build of DigitScenes, for all its uses.

    Args:
        report: Takes the lines.
    """
    if not report.require(MANIFEST):
        return
    numbers = report.attempt(
        f'reading {MANIFEST}', lambda: read_json(report.root / MANIFEST)['parameters']
    )
    if numbers is None:
        return
    report.facts = report.facts._replace(numbers={**numbers, 'classes': len(CLASSES)})
    labels = {
        split: check_folders(report, report.root / 'digits', split)
        for split in ('train', 'val')
        if report.require(f'digits/{split}')
    }
    compare_classes(report, labels)
    detection = _import_reader(report, 'mmdet', 'CocoDataset')
    segmentation = _import_reader(report, 'mmseg', 'BaseSegDataset')
    for split in ('train', 'val'):
        number = numbers[f'scenes_{split}']
        folder, file = f'scenes/{split}', f'scenes/annotations/instances_{split}.json'
        if number and report.require(folder, file):
            check_instances(report, file, folder, number, CLASSES, detection)
        maps = f'scenes/segmentation/{split}'
        if number and report.require(maps) and segmentation:
            most = len(CLASSES) + 1
            check_maps(report, folder, maps, number, most, segmentation, '.png')
        if number and report.require(f'scenes/clevr_{split}.json'):
            _check_tasks(report, f'clevr_{split}.json', number)


def check_instances(
    report: Report,
    file: str,
    folder: str,
    number: int,
    names: Sequence[str] | None,
    reader: type | None,
) -> None:
    """Check one annotation file of COCO and its images.

    Args:
        report: Takes the lines.
        file: The annotation file, relative to the root.
        folder: Folder of the images, relative to the root.
        number: How many images there should be.
        names: Names of the categories in order, if known.
        reader: mmdet's `CocoDataset`, if it can be imported.
    """
    path = report.root / file
    content = report.attempt(f'{file}: parsing with pycocotools', lambda: _parse(path))
    if content is None:
        return
    images, annotations, categories = content
    report.number(f'{file}: images', len(images), number)
    found = [category['name'] for category in categories]
    report.number(f'{file}: categories', len(found), report.facts.numbers['classes'])
    if names and found != list(names):
        report.problem(f'{file}: names or order of the categories are not the official')
    if not annotations:
        advice = 'image_info_*.json has none: take instances_*.json'
        report.problem(f'{file}: no annotations', advice)
    for claim, wrong, total in id_claims(images, annotations, categories):
        report.verdict(f'{file}: {claim}', wrong, total)
    masks = Findings()
    check_masks([a for a in annotations if not a.get('ignore')], images, masks)
    for line in masks.errors:
        report.problem(f'{file}: {line}')
    by_path = {str(report.root / folder / i['file_name']): i for i in images}
    report.files_exist(f'{folder}: every image of {path.name} exists', by_path)
    shapes = report.decode(folder, list(by_path))
    wrong = [
        f'{path} (height and width {shape}, listed {listed})'
        for path, shape in shapes.items()
        if shape != (listed := (by_path[path]['height'], by_path[path]['width']))
    ]
    report.verdict(f'{folder}: images are as large as listed', wrong, len(shapes))
    if reader:
        del content, annotations  # gigabytes, of which mmdet makes its own
        _read_instances(report, file, folder, found, reader)


def id_claims(
    images: list[dict], annotations: list[dict], categories: list[dict]
) -> Iterator[tuple[str, list[str], int]]:
    """Check that the ids of an annotation file of COCO fit together.

    Args:
        images: Its images.
        annotations: Its annotations.
        categories: Its categories.

    Yields:
        A claim, the ids for which it does not hold, and how many there are.
    """
    ids = {}
    for kind, things in (
        ('image', images),
        ('annotation', annotations),
        ('category', categories),
    ):
        ids[kind] = Counter(thing['id'] for thing in things)
        twice = [str(key) for key, times in ids[kind].items() if times > 1]
        yield f'{kind} ids are unique', twice, len(things)
    for kind in ('image', 'category'):
        lost = [
            f'annotation {thing["id"]}'
            for thing in annotations
            if thing[f'{kind}_id'] not in ids[kind]
        ]
        yield f'annotations name a known {kind}', lost, len(annotations)


def check_maps(
    report: Report,
    images: str,
    maps: str,
    number: int,
    most: int,
    reader: Callable,
    suffix: str = '.jpg',
) -> None:
    """Check images and their segmentation maps.

    Args:
        report: Takes the lines.
        images: Folder of the images, relative to the root.
        maps: Folder of the maps, relative to the root.
        number: How many images there should be.
        most: The largest label in a map; 0 stands for pixels without a label.
        reader: A data set of mmseg.
        suffix: How the images' names end.
    """
    infos = report.attempt(
        f'{images}: reading with mmseg',
        lambda: reader(
            data_root=str(report.root),
            data_prefix=dict(img_path=images, seg_map_path=maps),
            img_suffix=suffix,
            lazy_init=True,
        ).load_data_list(),
    )
    if infos is None:
        return
    report.number(f'{images}: images', len(infos), number)
    files = sum(1 for _ in (report.root / maps).rglob('*.png'))
    report.number(f'{maps}: maps', files, number)
    map_of = {info['img_path']: info['seg_map_path'] for info in infos}
    report.files_exist(f'{maps}: every image has a map', map_of.values())
    shapes = report.decode(images, paths_of(infos))
    sizes, labels = [], []
    for path, shape in shapes.items():
        if Path(map_of[path]).is_file():
            size, label = _map_faults(map_of[path], shape, most)
            sizes += size
            labels += label
    advice = 'take the maps of the archive as they are: one channel, 0 for no label'
    report.verdict(f'{maps}: maps fit their images', sizes, len(shapes), advice)
    report.verdict(f'{maps}: labels are 0 to {most}', labels, len(shapes), advice)


def _map_faults(path: str, shape: tuple, most: int) -> tuple[list[str], list[str]]:
    """What is wrong with the size, and with the labels, of one map."""
    try:
        labels = mmcv.imfrombytes(
            Path(path).read_bytes(), flag='unchanged', backend='pillow'
        )
    except UNREADABLE as error:
        return [f'{path} ({brief(error)})'], []
    if labels.shape != shape:
        return [f'{path} (shape {labels.shape}, image {shape})'], []
    top = int(np.max(labels))
    return [], [f'{path} (label {top})'] if top > most else []


def _import_reader(report: Report, package: str, name: str) -> Any:
    """A reader of mmdet or mmseg; a problem is reported where it cannot be imported."""
    return report.attempt(
        f'importing {package}',
        lambda: getattr(importlib.import_module(f'{package}.datasets'), name),
        '`python -m dseq_mm.doctor` says how to install it',
    )


def _parse(path: Path) -> tuple[list, list, list]:
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):  # it tells how long it took
        content = COCO(str(path)).dataset
    return content['images'], content.get('annotations', []), content['categories']


def _read_instances(report, file, folder, names, reader) -> None:
    """Read annotations as the training does."""

    def read():
        """Load what the training would."""
        with contextlib.redirect_stdout(io.StringIO()):
            return reader(
                ann_file=file,
                data_root=str(report.root),
                data_prefix=dict(img=folder),
                metainfo=dict(classes=tuple(names)),
                lazy_init=True,
            ).load_data_list()

    infos = report.attempt(f'{file}: reading with mmdet', read)
    if infos is not None:
        filled = sum(bool(info['instances']) for info in infos)
        text = f'{file}: mmdet finds objects in {filled:,} of {len(infos):,} images'
        report.ok(text) if filled else report.problem(text)


def _check_tasks(report: Report, file: str, number: int) -> None:
    """Check the count and distance labels of DigitScenes."""
    root = str(report.root / 'scenes')
    for task in ('count', 'distance'):
        read = partial(SingleTaskDataset, file, task, data_root=root)
        dataset = report.attempt(f'{file}: reading {task}', read)
        if dataset is not None:
            report.number(f'{file}: images for {task}', len(dataset), number)
            paths = paths_of(dataset.data_list)
            report.files_exist(f'{file}: every image of {task} exists', paths)
