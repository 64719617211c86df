"""Checks of data sets with one label per image, through the readers of mmpretrain."""

from functools import partial
from pathlib import Path

from mmengine.dataset import BaseDataset
from mmpretrain.datasets import CUB, CustomDataset, ImageNet, StanfordCars
from mmpretrain.datasets.custom import find_folders

from dseq_mm.data.clevr import CLEVR, load_scenes, official_names
from dseq_mm.data.layout.report import Report

VAL_ADVICE = (
    'move each image into the folder of its class, named as in train (valprep.sh of '
    'github.com/soumith/imagenetloader.torch does it for the official file names), or '
    'list lines "file label" in meta/val.txt'
)


def check_imagenet(report: Report) -> None:
    """Check ImageNet-1k as mmpretrain's `ImageNet` reads it.

    Args:
        report: Takes the lines.
    """
    labels: dict[str, dict[str, int] | None] = {}
    for split, advice in (
        ('train', 'unpack the archive of each class into a folder of its name'),
        ('val', VAL_ADVICE),
    ):
        if not report.require(split):
            continue
        if (report.root / 'meta' / f'{split}.txt').is_file():
            report.ok(f'{split}: labels are those of meta/{split}.txt')
            infos = _read(report, ImageNet, split)
            if infos is not None:
                check_listed(report, split, infos)
                labels[split] = _labels_of_folders(report, split, infos)
        else:
            labels[split] = check_folders(report, report.root, split, ImageNet, advice)
    compare_classes(report, labels)


def check_inat21(report: Report) -> None:
    """Check iNaturalist 2021 as mmpretrain's `CustomDataset` reads it.

    Args:
        report: Takes the lines.
    """
    labels = {
        split: check_folders(report, report.root, split)
        for split in ('train', 'val')
        if report.require(split)
    }
    compare_classes(report, labels)


def check_cub(report: Report) -> None:
    """Check CUB-200-2011 as mmpretrain's `CUB` reads it.

    Args:
        report: Takes the lines.
    """
    lists = ('images.txt', 'image_class_labels.txt', 'train_test_split.txt')
    if report.require('images', *lists):
        for split in ('train', 'test'):
            infos = _read(report, CUB, split)
            if infos is not None:
                check_listed(report, split, infos)


def check_cars(report: Report) -> None:
    """Check Stanford Cars as mmpretrain's `StanfordCars` reads it.

    Args:
        report: Takes the lines.
    """
    if (report.root / 'cars_annos.mat').exists():
        complete = {'train': report.require('car_ims')}
        complete['test'] = complete['train']
    else:
        labels = 'devkit/cars_test_annos_withlabels.mat'
        advice = (
            'the labels of the test images are a file of their own, to be put into '
            'devkit/ (cars_test_annos.mat has none)'
        )
        complete = {
            'train': report.require('cars_train', 'devkit/cars_train_annos.mat'),
            'test': report.require('cars_test') & report.require(labels, advice=advice),
        }
    for split in filter(complete.get, complete):
        infos = _read(report, StanfordCars, split)
        if infos is not None:
            check_listed(report, split, infos)


def check_clevr(report: Report) -> None:
    """Check CLEVR, and the split of VTAB-1k as our `CLEVR` makes it.

    Args:
        report: Takes the lines.
    """
    for source, splits in (('train', ('train', 'val')), ('val', ('test',))):
        file, folder = f'scenes/CLEVR_{source}_scenes.json', f'images/{source}'
        if not report.require(file, folder):
            continue
        read = partial(load_scenes, str(report.root / file))
        names = report.attempt(f'{source}: reading {file}', read)
        if names is None:
            continue
        published = report.facts.numbers[source]
        report.number(f'{source}: scenes', len(names), published)
        wrong = sorted({*names} - official_names(source, published))
        report.verdict(f'{source}: file names are the official', wrong, len(names))
        paths = [report.root / folder / name for name in names]
        report.files_exist(f'{source}: every image of the scene file exists', paths)
        for split in splits:
            infos = _read(report, CLEVR, split, task='count', complete=False)
            if infos is not None:
                report.ok(f'{split} of VTAB-1k: {len(infos):,} images')
                report.decode(split, paths_of(infos))


def check_folders(
    report: Report,
    base: Path,
    split: str,
    reader: type[BaseDataset] = CustomDataset,
    advice: str = '',
) -> dict[str, int] | None:
    """Check a split that has one folder per class.

    Args:
        report: Takes the lines.
        base: Folder of the splits.
        split: Name of the split and of its folder.
        reader: `CustomDataset` or a class made from it.
        advice: What to do where images lie in no class folder.

    Returns:
        Label of each class folder, or None if there are none.
    """
    names, labels = find_folders(str(base / split))
    loose = sorted(p.name for p in (base / split).glob('[!.]*') if p.is_file())
    if not names:
        text = f'{split}: {len(loose):,} files and no class folders'
        report.problem(text, advice)
        return None
    if loose:
        text = f'{split}: {len(loose):,} files beside the class folders are not read'
        report.problem(f'{text}, first {loose[0]}', advice or 'move or delete them')
    numbers = report.facts.numbers
    report.number(f'{split}: class folders', len(names), numbers['classes'])
    # ImageNet stops at a wrong number of folders, which was reported already
    metainfo = dict(classes=tuple(names))
    settings = dict(data_root=str(base), data_prefix=split, metainfo=metainfo)
    infos = _load(report, reader, split, **settings)
    if infos is not None:
        report.number(f'{split}: images', len(infos), numbers[split])
        used = {info['gt_label'] for info in infos}
        empty = [name for name in names if labels[name] not in used]
        report.verdict(f'{split}: class folders hold images', empty, len(names))
        report.decode(split, paths_of(infos))
    return labels


def compare_classes(report: Report, labels: dict[str, dict[str, int] | None]) -> None:
    """Check that train and val give the same label to the same class folder.

    Args:
        report: Takes the lines.
        labels: Label of each class folder, per split; empty or None if unknown.
    """
    train, val = labels.get('train'), labels.get('val')
    if not train or not val:
        return
    differ = sorted(name for name in {*train, *val} if train.get(name) != val.get(name))
    if not differ:
        report.ok(f'train and val have the same {len(train):,} classes')
        return
    alone = {'train': sorted({*train} - {*val}), 'val': sorted({*val} - {*train})}
    causes = [
        f'{len(names):,} only in {split}, first {names[0]}'
        for split, names in alone.items()
        if names
    ]
    report.problem(
        f'train and val label {len(differ):,} classes differently, first {differ[0]} '
        f'({"; ".join(causes) or "the lists disagree"})',
        'labels count the folders in order, so both splits need the same ones',
    )


def check_listed(report: Report, split: str, infos: list[dict]) -> None:
    """Check a split whose images and labels are listed in a file.

    Args:
        report: Takes the lines.
        split: Name of the split.
        infos: What its reader read.
    """
    numbers, paths = report.facts.numbers, paths_of(infos)
    report.number(f'{split}: images', len(infos), numbers[split])
    classes = numbers['classes']
    wrong = [
        f'{info["img_path"]} (label {info["gt_label"]})'
        for info in infos
        if not 0 <= info['gt_label'] < classes
    ]
    report.verdict(f'{split}: labels, counted from 0, are classes', wrong, len(infos))
    used = {info['gt_label'] for info in infos}
    report.number(f'{split}: classes', len(used), classes)
    report.files_exist(f'{split}: every listed image exists', paths)
    report.decode(split, paths)


def paths_of(infos: list[dict]) -> list[str]:
    """Return the paths of images.

    Args:
        infos: What a reader read.

    Returns:
        Their `img_path`.
    """
    return [info['img_path'] for info in infos]


def _read(report: Report, reader: type, split: str, **settings) -> list[dict] | None:
    """Read a split of a data set that knows its splits."""
    root = str(report.root)
    return _load(report, reader, split, data_root=root, split=split, **settings)


def _load(report: Report, reader: type, name: str, **settings) -> list[dict] | None:
    """The list that a reader makes, without what only training needs."""
    return report.attempt(
        f'{name}: reading with {reader.__name__}',
        lambda: reader(**settings, lazy_init=True).load_data_list(),
    )


def _labels_of_folders(report: Report, split: str, infos: list[dict]) -> dict[str, int]:
    """Labels by class folder, where a list names files in class folders."""
    labels: dict[str, int] = {}
    wrong = []
    for info in infos:
        folder = Path(info['img_path']).parent
        if folder != report.root / split:
            label = labels.setdefault(folder.name, info['gt_label'])
            if label != info['gt_label']:
                wrong.append(info['img_path'])
    if labels:
        claim = f'{split}: one label per class folder'
        report.verdict(claim, wrong, len(infos), f'mend meta/{split}.txt')
    return labels
