"""Bank and queries of kNN: built and checked before anything is computed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from ..data.classes import class_names, map_labels
from ..utils.command import explain
from .features import build_loader, labels_of, size_of


@dataclass
class KNNData:
    """What kNN compares.

    Attributes:
        bank: Images whose classes vote.
        query: Images to classify; None if there is no kNN.
        label_map: For each class of the queries its label in the bank; None if they
            are the same.
        notes: Lines for the log: how the classes are compared.
        several_classes: Whether there are more than five; None if the labels are not
            known before the images are read.
    """

    bank: DataLoader
    query: DataLoader | None
    label_map: list[int] | None = None
    notes: list[str] = field(default_factory=list)
    several_classes: bool | None = None

    def relabel(self, queries: dict[str, Any]) -> dict[str, Any]:
        """Give extracted queries the labels of the bank.

        Args:
            queries: With ``labels`` ``(n,)``.

        Returns:
            The same with other labels.
        """
        if self.label_map is None:
            return queries
        labels = torch.tensor(self.label_map)[queries['labels']]
        return {**queries, 'labels': labels}


def open_knn_data(
    bank: dict, query: dict | None, bank_fraction: float = 1.0, k: int = 20
) -> KNNData:
    """Build and checks bank and queries; three images of each are prepared.

    Args:
        bank: Dataloader config.
        query: Dataloader config; None if there is no kNN.
        bank_fraction: As for :func:`build_loader`.
        k: Number of neighbors.

    Returns:
        The dataloaders, without queries if the bank has no labels.

    Raises:
        ValueError: Data cannot be built or read, have no classes or several per image,
            the classes do not agree, or the bank is smaller than ``k``.
    """
    bank_loader, bank_labels = _open(bank, 'bank', bank_fraction)
    if query is None or bank_labels is False:
        reason = 'no query is set' if query is None else 'its bank has no labels'
        note = f'KNNHook: {reason}, so it logs rank_me and feature_std of the bank only'
        return KNNData(bank_loader, None, notes=[note])
    query_loader, query_labels = _open(query, 'query')
    if query_labels is False:
        raise ValueError(
            "KNNHook's query has no labels, so there is no accuracy: give labeled "
            'images, or query=None to log only rank_me and feature_std of the bank'
        )
    size = size_of(bank_loader)
    if k > size:
        raise ValueError(
            f'KNNHook: k={k} neighbors from a bank of {size} images (bank_fraction='
            f'{bank_fraction}): set k to at most {size}, or enlarge the bank'
        )
    label_map, note = _compare(bank_loader.dataset, query_loader.dataset)
    data = KNNData(bank_loader, query_loader, label_map, [note])
    for name, loader in (('bank', bank_loader), ('query', query_loader)):
        data.notes += [f'KNNHook: {name}: {line}' for line in _listing(loader.dataset)]
    if bank_labels is not None and query_labels is not None:
        query_labels = data.relabel(dict(labels=query_labels))['labels']
        _check_range(query_labels, class_names(bank_loader.dataset))
        highest = int(max(bank_labels.max(), query_labels.max()))
        data.several_classes = highest + 1 > 5
        alone = set(query_labels.tolist()) - set(bank_labels.tolist())
        if alone:
            count = sum(label in alone for label in query_labels.tolist())
            data.notes.append(
                f'KNNHook: {len(alone)} of the classes of the queries have no image '
                f'in the bank; their {count} queries count as wrong'
            )
    return data


def _open(
    config: dict, name: str, fraction: float = 1.0
) -> tuple[DataLoader, Tensor | Literal[False] | None]:
    """A dataloader and its labels: False without, None if only the images tell."""
    what = f"KNNHook's {name}"
    try:
        loader = build_loader(config, fraction)
        if not size_of(loader):
            raise ValueError('it has no image')
        labels = labels_of([_samples(loader.dataset)[0]['data_samples']])
        if labels is None:
            return loader, False
        labels = _all_labels(loader.dataset)
        names = class_names(loader.dataset)
        if labels is not None:
            _check_range(labels, names)
    except Exception as error:
        raise ValueError(f'{what}: {explain(error)}') from error
    return loader, labels


def _listing(dataset: Any) -> list[str]:
    """What a data set has found in its folder, and left out."""
    while not hasattr(dataset, 'files') and hasattr(dataset, 'dataset'):
        dataset = dataset.dataset
    files = getattr(dataset, 'files', None)
    return files.lines() if files is not None else []


def _samples(dataset: Any) -> list[dict]:
    """The first image after the pipeline, one of the middle and the last."""
    samples = [dataset[i] for i in sorted({0, len(dataset) // 2, len(dataset) - 1})]
    for sample in samples:
        if not isinstance(sample, dict) or not {'inputs', 'data_samples'} <= {*sample}:
            raise ValueError(
                'the pipeline does not pack its images: end it with '
                "dict(type='PackInputs')"
            )
    inputs = (sample['inputs'] for sample in samples)
    sizes = dict.fromkeys(
        image.shape[-2:] for image in inputs if torch.is_tensor(image)
    )
    if len(sizes) > 1:
        shown = ' and '.join(f'{width} x {height}' for height, width in sizes)
        raise ValueError(
            f'its images are {shown} after the pipeline, and a batch needs one size: '
            'add a Resize or a CenterCrop to the pipeline'
        )
    return samples


def _all_labels(dataset: Any) -> Tensor | None:
    """Labels from the annotations, ``(n,)``; None if these have none."""
    indices: Sequence[int] = range(len(dataset))
    while isinstance(dataset, Subset):
        indices = [dataset.indices[index] for index in indices]
        dataset = dataset.dataset
    if not hasattr(dataset, 'get_data_info'):
        return None
    labels = [dataset.get_data_info(index).get('gt_label') for index in indices]
    if labels[0] is None:  # a transform makes them
        return None
    for index, label in zip(indices, labels, strict=True):
        if label is None or np.size(label) != 1:
            number = 'no class' if label is None else f'{np.size(label)} classes'
            raise ValueError(
                f'image {index} has {number}, and kNN needs one class per image'
            )
    return torch.as_tensor([int(np.reshape(label, ())) for label in labels])


def _check_range(labels: Tensor, names: tuple[str, ...] | None) -> None:
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or (names is not None and high >= len(names)):
        known = f'{len(names)} classes' if names is not None else 'classes'
        raise ValueError(
            f'its labels are {low} to {high}, and the {known} are counted from 0'
        )


def _compare(bank: Any, query: Any) -> tuple[list[int] | None, str]:
    """How labels of the queries become those of the bank, and a line about it."""
    wanted, found = class_names(bank), class_names(query)
    if wanted is None or found is None:
        unknown = 'bank' if wanted is None else 'query'
        return None, (
            f'KNNHook: the names of the classes of its {unknown} are not known; labels '
            'are compared as numbers'
        )
    label_map = map_labels(wanted, found, "KNNHook's query against its bank")
    if label_map is None:
        return None, f'KNNHook: bank and query have the same {len(wanted)} classes'
    return label_map, (
        f'KNNHook: the {len(found)} classes of its query are mapped by name onto the '
        f'{len(wanted)} of its bank'
    )
