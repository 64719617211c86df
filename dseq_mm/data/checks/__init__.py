"""Checks of data of one's own, before a training begins and by tools/check_data.py."""

from typing import Any

from .coco import check_coco
from .evaluator import check_evaluator
from .findings import Findings
from .labels import agree_on_classes, check_number, describe, head_classes, innermost
from .maps import check_maps

__all__ = [
    'Findings',
    'agree_on_classes',
    'check_data_set',
    'check_evaluator',
    'check_files',
    'head_classes',
    'innermost',
]


def check_data_set(
    dataset: Any, heads: dict[str, int], compared: bool = False
) -> Findings:
    """Check a data set that is built, by itself.

    Args:
        dataset: It, maybe in wrappers or joined.
        heads: Number of classes by name of the head.
        compared: Whether its classes were compared with those of the training.

    Returns:
        What was found.
    """
    found = describe(dataset)
    for part in innermost(dataset):
        found.add(check_files(part, max(heads.values(), default=None)))
    found.add(check_number(dataset, heads, compared))
    return found


def check_files(dataset: Any, number_of_classes: int | None = None) -> Findings:
    """Check annotations or maps of a data set.

    Args:
        dataset: A data set without wrappers. Those of mmdet's and mmseg's formats are
            checked, but not classes of one's own that load them in another way.
        number_of_classes: That of the heads, for data sets without class names.

    Returns:
        What was found; nothing for others.
    """
    kind = _loader_of(type(dataset))
    if kind == ('mmdet', 'CocoDataset'):
        return check_coco(dataset)
    if kind == ('mmseg', 'BaseSegDataset'):
        return check_maps(dataset, number_of_classes)
    return Findings()


def _loader_of(kind: type) -> tuple[str, str]:
    """Package and name of the class that loads the list of images."""
    for base in kind.__mro__:
        if 'load_data_list' in vars(base):
            return base.__module__.partition('.')[0], base.__name__
    return '', ''
