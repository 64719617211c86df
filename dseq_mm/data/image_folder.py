"""Data sets of image files: class folders, lists, and folders without classes."""

import os
from collections.abc import Sequence

from mmengine.fileio import LocalBackend, get_file_backend, list_from_file
from mmpretrain.datasets import CustomDataset, ImageNet

from ..registry import DATASETS
from .files import SUFFIXES, FolderSearch, ImageFiles, printable


@DATASETS.register_module()
class ImageFolder(CustomDataset):
    """mmpretrain's `CustomDataset` with the rules of `files` for what is an image.

    Hidden folders, debris, empty files and other suffixes are left out and counted;
    links are followed and may form loops. Class folders without images stay classes,
    so that splits agree. Images and labels of other folders are in the same order as
    with `CustomDataset`.

    Args:
        *args: Those of `CustomDataset`.
        extensions: Suffixes of the files to take.
        **kwargs: Those of `CustomDataset`. `metainfo=dict(classes=[...])` or `classes`
            give the order of the labels by the names of the class folders.

    Attributes:
        files: What was found in the folder; None if `ann_file` lists the images.

    Raises:
        ValueError: The folder is missing or has no images; a class folder is not in
            the given classes; a line of the list names no file or no class.
    """

    def __init__(self, *args, extensions: Sequence[str] = SUFFIXES, **kwargs) -> None:
        self.files: ImageFiles | None = None
        super().__init__(*args, extensions=extensions, **kwargs)

    def load_data_list(self) -> list[dict]:
        """List the images.

        Returns:
            `img_path` of each, and `gt_label` where there are labels.
        """
        if self.ann_file:
            return self._load_listed()
        self.files = self._search()
        prefix = self.img_prefix.rstrip('/') + '/'
        infos = [{'img_path': prefix + path} for path in self.files.paths]
        if self.with_label:
            labels = self._labels_of(self.files.classes)
            for info, index in zip(infos, self.files.labels or (), strict=True):
                info['gt_label'] = labels[index]
        return infos

    def _search(self) -> ImageFiles:
        folder = self.img_prefix
        if '://' in folder:
            raise ValueError(
                f'{folder} is not a local folder: list its images in ann_file'
            )
        if not os.path.isdir(folder):
            raise ValueError(
                f'The image folder {folder!r} does not exist: check data_root and '
                'data_prefix'
            )
        search = FolderSearch([suffix.lower() for suffix in self.extensions])
        files = search.search(folder, self.with_label)
        if not len(files):
            omitted = files.omissions()
            raise ValueError(
                f'Found no images to use in the folder {folder!r} (accepted '
                f'extensions: {", ".join(sorted(self.extensions))}). With labels, each '
                'class needs a folder of its own; use with_label=False for images '
                f'without labels. Left out: {omitted or "nothing"}'
            )
        return files

    def _labels_of(self, folders: tuple[str, ...]) -> list[int]:
        """Label of each class folder."""
        self.folder_to_idx = {name: index for index, name in enumerate(folders)}
        if self.CLASSES is None:
            self._metainfo['classes'] = folders
        else:
            self.folder_to_idx = self._indices_by_name(folders)
        return [self.folder_to_idx[name] for name in folders]

    def _indices_by_name(self, folders: tuple[str, ...]) -> dict[str, int]:
        """Labels where the classes are given."""
        index = {str(name): number for number, name in enumerate(self.CLASSES)}
        unknown = [name for name in folders if name not in index]
        if unknown:
            raise ValueError(
                f'{len(unknown)} of {len(folders)} class folders in {self.img_prefix} '
                f'are not among the {len(index)} given classes, first '
                f'{printable(unknown[0])!r}: classes are the names of the folders'
            )
        return {name: index[name] for name in folders}

    def _load_listed(self) -> list[dict]:
        """Images of an annotation file, which must exist if they are local."""
        backend = get_file_backend(self.img_prefix, enable_singleton=True)
        infos = []
        for number, line in enumerate(list_from_file(self.ann_file), 1):
            name = line.lstrip('\ufeff').strip()
            if not name:
                continue
            info = {}
            if self.with_label:
                name, info['gt_label'] = self._split(name, number)
            infos.append(
                dict(img_path=backend.join_path(self.img_prefix, name), **info)
            )
        if not infos:
            raise ValueError(f'{self.ann_file} lists no images')
        if isinstance(backend, LocalBackend):
            _require([info['img_path'] for info in infos], self.ann_file)
        return infos

    def _split(self, line: str, number: int) -> tuple[str, int]:
        name, _, label = line.rpartition(' ')
        number_of_classes = len(self.CLASSES or ()) or None
        if not name or not label.isdecimal():
            raise ValueError(
                f'{self.ann_file}, line {number}: {printable(line)!r} is not "file '
                'label" with a label counted from 0'
            )
        if number_of_classes and int(label) >= number_of_classes:
            raise ValueError(
                f'{self.ann_file}, line {number}: label {label} is not one of '
                f'{number_of_classes} classes, counted from 0'
            )
        return name.strip(), int(label)


@DATASETS.register_module()
class ImageNetFolder(ImageFolder, ImageNet):
    """mmpretrain's `ImageNet` with the rules of :class:`ImageFolder`.

    Without `classes` of one's own, the 1,000 class folders are labeled in order, as
    their names are not those of the classes.
    """

    def __init__(self, *args, extensions: Sequence[str] = SUFFIXES, **kwargs) -> None:
        super().__init__(*args, extensions=extensions, **kwargs)

    def _indices_by_name(self, folders: tuple[str, ...]) -> dict[str, int]:
        if tuple(self.CLASSES) != tuple(ImageNet.METAINFO['classes']):
            return super()._indices_by_name(folders)
        if len(folders) != len(self.CLASSES):
            raise ValueError(
                f'{self.img_prefix} has {len(folders):,} class folders, ImageNet has '
                f'{len(self.CLASSES):,}: complete it, or set the type of the data set '
                "to 'ImageFolder' for classes of your own"
            )
        return self.folder_to_idx


def _require(paths: list[str], source: str) -> None:
    """Refuse a list that names files that do not exist; their folders are listed."""
    listed: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in listed:
            listed[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        if name not in listed[folder]:
            missing.append(path)
    if missing:
        raise ValueError(
            f'{source}: {len(missing):,} of {len(paths):,} listed images do not exist, '
            f'first {printable(missing[0])}'
        )
