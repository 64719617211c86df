"""A dataset wrapper: augmentation keyed per sample, unreadable images skipped."""

import copy
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.dataset import BaseDataset, force_full_init
from mmengine.fileio import isdir
from mmengine.logging import print_log

from dseq_mm.data.files import printable
from dseq_mm.data.load_image import UNREADABLE
from dseq_mm.randomness import hash_integers

from ..registry import DATASETS


@contextmanager
def keyed_generators(*key: int) -> Iterator[None]:
    """Seed the global generators that pipelines use, and restore them afterwards.

    These are those of `random`, `np.random` and torch's CPU; a GPU's are not touched.

    Args:
        *key: Integers that the draws shall depend on, and on nothing else.

    Yields:
        Nothing.
    """
    states = random.getstate(), np.random.get_state()
    torch_state = torch.default_generator.get_state()
    # One hash each: from the same words `random` and NumPy make the same stream.
    seeds = [hash_integers(*key, generator) for generator in range(3)]
    try:
        random.seed(seeds[0])
        np.random.seed([seeds[1] & 0xFFFFFFFF, seeds[1] >> 32])
        # torch.manual_seed would seed the GPUs too
        torch.default_generator.manual_seed(seeds[2])
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.default_generator.set_state(torch_state)


@DATASETS.register_module()
class KeyedDataset:
    """Run a dataset's pipeline with randomness keyed by (seed, epoch, index).

    So neither the number of workers or processes nor the order of access changes an
    augmentation, and a resumed epoch repeats it. Call `set_epoch` before each epoch's
    iteration starts, see there.

    An image that its loading transform (the pipeline's first) cannot read is replaced
    by the next one, counted, and named in a warning. Other transforms' errors are
    raised as they are, and a sample they drop (None) is replaced without counting.
    The data sample's `sample_idx` and `img_path` are those of the image really used.

    A file is unreadable if `LoadImage` or its decoder says so. Pillow and recent OpenCV
    (4.12) refuse what is cut off; older OpenCV decodes the part that is there and
    leaves the rest flat (`imdecode_backend='pillow'` is strict). Wrong bytes within a
    JPEG pass both: they show as false pixels.

    Counting: workers of a process share one count of *different* images; in
    distributed training each process counts its own.

    Args:
        dataset: The dataset to wrap, or its config. Built lazily, so a missing folder
            is reported here.
        seed: Seed of all augmentations; None is the run's, which ClockHook sets.
        max_unreadable: Share of the dataset that may be unreadable before training
            stops, rounded down, but one image is always allowed unless it is 0.
        lazy_init: Whether to put off loading the annotations until `full_init`.

    Raises:
        ValueError: The folder is missing or holds no images, or `max_unreadable` is
            outside 0..1.
    """

    def __init__(
        self,
        dataset: BaseDataset | dict,
        seed: int | None = None,
        max_unreadable: float = 0.01,
        lazy_init: bool = False,
    ) -> None:
        if not 0 <= max_unreadable <= 1:
            raise ValueError(
                f'max_unreadable is a share of the dataset, set it to 0..1, not to '
                f'{max_unreadable}'
            )
        if isinstance(dataset, dict):
            dataset = DATASETS.build({**dataset, 'lazy_init': True})
        if not isinstance(dataset, BaseDataset):
            raise TypeError(
                'KeyedDataset wraps a dataset with a pipeline (a BaseDataset) or its '
                f'config, got {type(dataset).__name__}'
            )
        self.dataset = dataset
        self.seed = seed
        self.max_unreadable = max_unreadable
        # In shared memory, so that persistent workers see it change.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._fully_initialized = False
        if not lazy_init:
            self.full_init()

    def __setstate__(self, state: dict) -> None:
        """Restore a copy; `copy.deepcopy` alone would leave shared memory."""
        self.__dict__.update(state)
        for value in (self._epoch, state.get('_unreadable', self._epoch)):
            value.share_memory_()

    @property
    def metainfo(self) -> dict:
        """Meta information of the wrapped dataset (a copy)."""
        return copy.deepcopy(self.dataset.metainfo)

    @property
    def epoch(self) -> int:
        """The epoch that augmentations are keyed with."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, for running (persistent) workers too.

        Call it while no batch is under way: before an epoch's iterator is made and
        after the last one ended. An endless sampler has no such moment, its workers
        prefetch across the change.

        Args:
            epoch: Number of the epoch, counted from 0.
        """
        self._epoch.fill_(epoch)

    def full_init(self) -> None:
        """Load the annotations of the wrapped dataset, once.

        Raises:
            ValueError: The folder is missing or holds no images.
        """
        if self._fully_initialized:
            return
        dataset = self.dataset
        folder = dataset.data_prefix.get('img_path')
        if dataset.ann_file or not folder or hasattr(dataset, 'files'):
            dataset.full_init()  # it does not search, or says itself what is wrong
        else:
            _search_folder(dataset, folder)
        # One flag per image, shared by the workers; setting one twice does no harm.
        self._unreadable = torch.zeros(len(dataset), dtype=torch.bool).share_memory_()
        self._fully_initialized = True

    @force_full_init
    def get_data_info(self, idx: int) -> dict:
        """Return the wrapped dataset's annotation of one sample.

        Args:
            idx: Dataset index.

        Returns:
            The annotation.
        """
        return self.dataset.get_data_info(idx)

    @force_full_init
    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the categories of one sample, if the wrapped dataset has any.

        Args:
            idx: Dataset index.

        Returns:
            Category ids.
        """
        return self.dataset.get_cat_ids(idx)

    @force_full_init
    def get_gt_labels(self) -> np.ndarray:
        """Return the labels of all samples, if the wrapped dataset has any.

        Returns:
            (n,) labels.
        """
        return self.dataset.get_gt_labels()

    @force_full_init
    def __len__(self) -> int:
        """Return the number of samples, unreadable ones included."""
        return len(self.dataset)

    @property
    def unreadable(self) -> list[int]:
        """Indices of the images found unreadable so far, by all workers."""
        if not self._fully_initialized:
            return []
        return self._unreadable.nonzero().flatten().tolist()

    @force_full_init
    def __getitem__(self, idx: int) -> Any:
        """Return one sample after the pipeline, or the next one that can be read.

        Args:
            idx: Dataset index.

        Returns:
            What the pipeline returns.

        Raises:
            IndexError: `idx` is out of range.
            RuntimeError: Too many images are unreadable.
        """
        number = len(self)
        if not -number <= idx < number:
            raise IndexError(f'index {idx} of a dataset of {number} samples')
        for offset in range(number):
            data = self._run_pipeline((idx + offset) % number)
            if data is not None:
                return data
        raise RuntimeError(
            f'The pipeline returned nothing for any of the {number} samples, '
            f'{len(self.unreadable)} of them could not be read: check the files'
        )

    def _run_pipeline(self, idx: int) -> Any:
        """Run the pipeline on one sample; None if it is unreadable or dropped."""
        data = self.dataset.get_data_info(idx)
        path = data.get('img_path', f'sample {idx}')
        with keyed_generators(self.seed or 0, self.epoch, idx):
            for step, transform in enumerate(self.dataset.pipeline.transforms):
                try:
                    data = transform(data)
                except UNREADABLE as error:
                    if step > 0:
                        raise
                    self._count_unreadable(idx, path, error)
                    return None
                if data is None:
                    if step == 0:
                        self._count_unreadable(idx, path, None)
                    return None
        return data

    def _count_unreadable(self, idx: int, path: str, error: Exception | None) -> None:
        """Count and name an image the first time; raise once there are too many."""
        if self._unreadable[idx]:
            return
        self._unreadable[idx] = True
        count, number = int(self._unreadable.sum()), len(self)
        path, reason = printable(path), 'nothing was loaded'
        if error is not None:  # LoadImage begins with the path
            text = str(error).removeprefix(f'{path}: ')
            reason = f'{type(error).__name__}: {text}'
        print_log(
            f'Cannot read {path} ({reason}); the next image takes its place. '
            f'{count} of {number} images could not be read so far.',
            logger='current',
            level=logging.WARNING,
        )
        allowed = int(self.max_unreadable * number)
        if self.max_unreadable > 0:
            allowed = max(allowed, 1)
        if count > allowed:
            raise RuntimeError(
                f'{count} of {number} images could not be read, and '
                f'max_unreadable={self.max_unreadable} allows {allowed}; the last one '
                f'is {path} ({reason}). Mend or remove the files named in the '
                'warnings, or raise max_unreadable.'
            ) from error


def _search_folder(dataset: BaseDataset, folder: str) -> None:
    """Initialize a dataset that searches a folder; ValueError if it finds nothing."""
    if not isdir(folder):
        raise ValueError(
            f'The image folder {folder!r} does not exist: check data_root and '
            'data_prefix'
        )
    try:
        dataset.full_init()
    except (RuntimeError, AssertionError) as error:
        accepted = ', '.join(sorted(getattr(dataset, 'extensions', ())))
        raise ValueError(
            f'Found no images to use in the folder {folder!r} (accepted extensions: '
            f'{accepted}). With labels, each class needs a folder of its own; use '
            f'with_label=False for images without labels. [{error}]'
        ) from error
