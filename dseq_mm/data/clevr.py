"""CLEVR's count and distance tasks as VTAB-1k splits them, and single tasks of a file.

VTAB-1k takes its images from TensorFlow Datasets, which stores the images of a split by
the MD5 hash of split name and file name. VTAB-1k's `train` is the first 800 of the
official training set in that order, `val` the 200 that follow the first 90 % of it, and
`test` the whole official validation set.
"""

import hashlib
import logging
from collections.abc import Sequence

import mmengine
import numpy as np
from mmengine.fileio import join_path
from mmengine.logging import print_log
from mmpretrain.datasets import BaseDataset, MultiTaskDataset

from ..registry import DATASETS

SCENES = {'train': 70_000, 'val': 15_000}  # in CLEVR_v1.0
SPLITS = ('train', 'val', 'test')
OBJECTS = (3, 10)  # the fewest and the most in a scene
THRESHOLDS = (0.0, 8.0, 8.5, 9.0, 9.5, 10.0, 100.0)  # of the nearest object's depth
CLASSES = {
    'count': tuple(str(number) for number in range(OBJECTS[0], OBJECTS[1] + 1)),
    'distance': (
        'up to 8',
        '8 to 8.5',
        '8.5 to 9',
        '9 to 9.5',
        '9.5 to 10',
        'above 10',
    ),
}


@DATASETS.register_module()
class CLEVR(BaseDataset):
    """CLEVR_v1.0 with VTAB-1k's split and labels.

    Read are `images/{train,val}/*.png` and `scenes/CLEVR_{train,val}_scenes.json` of
    the official folder; its test set has no labels and is not used.

    Args:
        data_root: The folder `CLEVR_v1.0`.
        split: `'train'` (800 images), `'val'` (200) or `'test'` (15,000).
        task: `'count'` (8 classes: 3 to 10 objects) or `'distance'` (6 classes: the
            interval of the smallest depth, see `THRESHOLDS`).
        complete: Whether the folder must hold the whole official set, without which
            the split is not VTAB-1k's. `False` takes any part of it, for tests and
            small tries, splits it by the same rule, and says so in the log.
        **kwargs: Other arguments of mmpretrain's `BaseDataset`: `pipeline`,
            `test_mode`, `indices`, ...

    Raises:
        ValueError: Split or task is unknown, or (when the scenes are loaded) the
            scene file is missing, damaged or not that of the official set.
    """

    def __init__(
        self, data_root: str, split: str, task: str, complete: bool = True, **kwargs
    ):
        for name, value, known in (('split', split, SPLITS), ('task', task, CLASSES)):
            if value not in known:
                raise ValueError(f'{name} must be one of {[*known]}, got {value!r}')
        self.split, self.task, self.complete = split, task, complete
        self.source = 'val' if split == 'test' else 'train'
        super().__init__(
            ann_file=f'scenes/CLEVR_{self.source}_scenes.json',
            metainfo=dict(classes=CLASSES[task]),
            data_root=data_root,
            data_prefix=f'images/{self.source}',
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Read the scene file and choose the images of the split.

        Returns:
            `img_path` and `gt_label` of each image, `train` and `val` in the stored
            order of TensorFlow Datasets, `test` in that of the scene file.

        Raises:
            ValueError: See the class.
        """
        objects = load_scenes(self.ann_file)
        if set(objects) != official_names(self.source):
            self._refuse_or_tell(len(objects))
        names = vtab_names(list(objects), self.split)
        if not names:
            raise ValueError(
                f'{self.ann_file}: {len(objects)} scenes leave nothing for {self.split}'
            )
        labels = [scene_labels(name, objects[name])[self.task] for name in names]
        return [
            dict(img_path=join_path(self.img_prefix, name), gt_label=label)
            for name, label in zip(names, labels, strict=True)
        ]

    def _refuse_or_tell(self, number: int) -> None:
        found = (
            f'{self.ann_file} is not that of CLEVR_v1.0: {number:,} scenes, expected '
            f'{SCENES[self.source]:,} with the official file names'
        )
        if self.complete:
            raise ValueError(
                f'{found}. The split would not be that of VTAB-1k: unpack '
                'CLEVR_v1.0.zip again, or set complete=False for a try on a part.'
            )
        print_log(
            f'{found}. complete=False: this split is not that of VTAB-1k.',
            logger='current',
            level=logging.WARNING,
        )


def load_scenes(path: str) -> dict[str, list[dict]]:
    """Read a scene file of CLEVR.

    Args:
        path: `CLEVR_train_scenes.json` or `CLEVR_val_scenes.json`.

    Returns:
        Objects of each scene by image file name, in the order of the file.

    Raises:
        ValueError: The file is missing, damaged, or names an image twice.
    """
    advice = 'unpack CLEVR_v1.0.zip again (scenes/ lies beside images/ in it)'
    try:
        scenes = mmengine.load(path)['scenes']
        objects = {scene['image_filename']: scene['objects'] for scene in scenes}
    except FileNotFoundError as error:
        raise ValueError(f'{path} is missing: {advice}') from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f'{path} is no scene file of CLEVR ({type(error).__name__}: {error}): '
            f'{advice}'
        ) from error
    if len(objects) < len(scenes):
        raise ValueError(f'{path} names an image twice: {advice}')
    return objects


def official_names(source: str, number: int | None = None) -> set[str]:
    """Return the image file names of an official set.

    Args:
        source: `'train'` or `'val'`.
        number: How many; by default as many as published.

    Returns:
        The names.
    """
    number = SCENES[source] if number is None else number
    return {f'CLEVR_{source}_{index:06d}.png' for index in range(number)}


def vtab_names(names: Sequence[str], split: str) -> list[str]:
    """Choose the images of a split of VTAB-1k.

    Args:
        names: File names of the official training set, or of the official validation
            set for `'test'`. From fewer than the official number, `train` takes at
            most the first 90 % and `val` at most the rest, so they never overlap.
        split: `'train'`, `'val'` or `'test'`.

    Returns:
        The chosen names; `train` and `val` in stored order, `test` as given.
    """
    if split == 'test':
        return list(names)
    stored = sorted(
        names, key=lambda name: hashlib.md5(b'train' + name.encode()).digest()
    )
    border = len(names) * 90 // 100
    return stored[: min(800, border)] if split == 'train' else stored[border:][:200]


def scene_labels(name: str, objects: list[dict]) -> dict[str, int]:
    """Return the labels of one scene in both tasks.

    Args:
        name: The image's file name, for messages.
        objects: The scene's objects.

    Returns:
        `count` (0 to 7) and `distance` (0 to 5).

    Raises:
        ValueError: The scene cannot be one of CLEVR's.
    """
    fewest, most = OBJECTS
    if not fewest <= len(objects) <= most:
        raise ValueError(
            f'{name}: {len(objects)} objects, expected {fewest} to {most}: the scene '
            'file is not the official one'
        )
    try:
        depth = min(float(thing['pixel_coords'][2]) for thing in objects)
        distance = distance_label(depth)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(
            f'{name}: objects need pixel_coords = [x, y, depth] with a depth above '
            f'{THRESHOLDS[0]:g} and up to {THRESHOLDS[-1]:g} '
            f'({type(error).__name__}: {error})'
        ) from error
    return {'count': len(objects) - fewest, 'distance': distance}


def distance_label(depth: float) -> int:
    """Return the class of a depth: the index of the last threshold below it.

    Args:
        depth: Depth of the nearest object, rounded to float32 as stored by TensorFlow
            Datasets. A depth at a threshold belongs to the class below it.

    Returns:
        0 to 5.

    Raises:
        ValueError: The depth is outside the thresholds.
    """
    stored = np.float32(depth)
    if not THRESHOLDS[0] < stored <= THRESHOLDS[-1]:
        raise ValueError(f'depth {stored}')
    return int(np.searchsorted(THRESHOLDS, stored, side='left')) - 1


@DATASETS.register_module()
class SingleTaskDataset(MultiTaskDataset):
    """One task of a multi-task annotation file, as ordinary classification.

    Args:
        ann_file: Annotation file as mmpretrain's `MultiTaskDataset` reads it.
        task: Name of the task, whose labels are class indices.
        **kwargs: Other arguments of `MultiTaskDataset`.

    Raises:
        ValueError: The file has no such task, or an image has no class in it.
    """

    def __init__(self, ann_file: str, task: str, **kwargs):
        self.task = task
        super().__init__(ann_file, **kwargs)

    def load_data_list(
        self, ann_file: str, metainfo_override: dict | None = None
    ) -> list[dict]:
        """Load the annotations of the task.

        Args:
            ann_file: Path of the annotation file.
            metainfo_override: What replaces entries of the file's metainfo.

        Returns:
            `img_path` and `gt_label` (int) of each image.

        Raises:
            ValueError: See the class.
        """
        data_list = super().load_data_list(ann_file, metainfo_override)
        tasks = list(self._metainfo.get('tasks', []))
        if self.task not in tasks:
            raise ValueError(f'{ann_file} has no task {self.task!r}, but {tasks}')
        number = self._metainfo.get('num_classes', {}).get(self.task)
        if number:
            self._metainfo['classes'] = tuple(str(label) for label in range(number))
        for data in data_list:
            label = data['gt_label'].get(self.task)
            if type(label) is not int or not 0 <= label < (number or label + 1):
                raise ValueError(
                    f'{ann_file}: {data["img_path"]} has {label!r} as {self.task}, '
                    f'expected a class index{f" below {number}" if number else ""}'
                )
            data['gt_label'] = label
        return data_list
