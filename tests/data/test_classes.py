"""Labels are translated by the names of the classes, or the names are refused."""

import pytest
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmpretrain.datasets import BaseDataset
from torch.utils.data import ConcatDataset as TorchConcat
from torch.utils.data import Subset

from dseq_mm.data.classes import class_names, map_labels
from dseq_mm.data.keyed_dataset import KeyedDataset


class Named(BaseDataset):
    def __init__(self, *names):
        metainfo = dict(classes=names) if names else None
        super().__init__('', metainfo=metainfo, serialize_data=False)

    def load_data_list(self):
        return [dict(gt_label=0)]


def test_names_through_wrappers():
    data = Named('cat', 'dog')
    assert class_names(data) == ('cat', 'dog')
    for wrapped in (
        KeyedDataset(data),
        Subset(data, [0]),
        Subset(KeyedDataset(data), [0]),
        RepeatDataset(data, 2),
        ConcatDataset([data, Named('cat', 'dog')]),
        TorchConcat([KeyedDataset(data), data]),
    ):
        assert class_names(wrapped) == ('cat', 'dog'), wrapped
    for unknown in (Named(), KeyedDataset(Named()), [1, 2], None):
        assert class_names(unknown) is None


def test_parts_that_differ():
    for other in (Named('dog', 'cat'), Named()):
        joined = ConcatDataset([Named('cat', 'dog'), other], ignore_keys=['classes'])
        with pytest.raises(ValueError, match="'cat', 'dog' and "):
            class_names(joined)


def test_labels_by_name():
    assert map_labels(('a', 'b'), ['a', 'b'], '') is None
    assert map_labels(('a', 'b', 'c'), ('c', 'a'), '') == [2, 0]
    assert map_labels(('crane', 'crane'), ('crane', 'crane'), '') is None
    with pytest.raises(ValueError, match="val: 1 of 2 classes are unknown: 'dgo'.*dog"):
        map_labels(('cat', 'dog'), ('cat', 'dgo'), 'val')
    with pytest.raises(ValueError, match=r"'b0', .*\(9 in all\).*'a'$"):
        map_labels(('a',), [f'b{i}' for i in range(9)], '')
    with pytest.raises(ValueError, match='is there twice'):
        map_labels(('crane', 'crane', 'cat'), ('crane', 'cat'), '')
