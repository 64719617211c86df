"""Class names of two folders, and numbers of classes of heads."""

import cv2
import numpy as np
import pytest
from mmpretrain.datasets import BaseDataset

from dseq_mm.data import ImageFolder
from dseq_mm.data.checks import agree_on_classes, check_data_set, head_classes


def make(root, *classes, **settings):
    for name in classes:
        (root / name).mkdir(parents=True)
        cv2.imwrite(str(root / name / 'x.png'), np.zeros((8, 8, 3), np.uint8))
    return ImageFolder(data_root=str(root), **settings)


def labels(dataset):
    return {
        info['img_path'].split('/')[-2]: info['gt_label']
        for info in (dataset.get_data_info(index) for index in range(len(dataset)))
    }


def test_a_subset_is_mapped_by_name(tmp_path):
    val = make(tmp_path / 'val', 'b', 'c')
    assert labels(val) == dict(b=0, c=1)
    line = agree_on_classes(('a', 'b', 'c'), val, 'val against train')
    assert 'mapped by name' in line and 'val against train' in line
    assert labels(val) == dict(b=1, c=2)
    assert tuple(val.metainfo['classes']) == ('a', 'b', 'c')
    assert agree_on_classes(('a', 'b', 'c'), val, 'val against train') is None


def test_unknown_classes_are_refused(tmp_path):
    val = make(tmp_path / 'val', 'a', 'dogs')
    with pytest.raises(ValueError, match="did you mean 'dog' by 'dogs'"):
        agree_on_classes(('a', 'dog'), val, 'val against train')


def test_lists_are_not_mapped(tmp_path):
    make(tmp_path / 'val', 'a', 'b')
    (tmp_path / 'list.txt').write_text('a/x.png 0\nb/x.png 1\n')
    val = ImageFolder(
        data_prefix=str(tmp_path / 'val'),
        ann_file=str(tmp_path / 'list.txt'),
        metainfo=dict(classes=('a', 'b')),
    )
    with pytest.raises(ValueError, match='same label means different classes'):
        agree_on_classes(('b', 'a'), val, 'val against train')


def test_without_names_nothing_is_compared(tmp_path):
    val = make(tmp_path / 'val', 'a')
    assert agree_on_classes(None, val, 'val against train') is None


@pytest.mark.parametrize('number, kind', [(1, 'errors'), (2, ''), (3, 'warnings')])
def test_classes_of_the_head(tmp_path, number, kind):
    found = check_data_set(make(tmp_path, 'a', 'b'), {'head': number})
    lines = dict(errors=found.errors, warnings=found.warnings)
    for name, told in lines.items():
        assert len(told) == (name == kind), told
    for line in lines.get(kind, ()):
        assert '2 classes' in line and f'num_classes={number}' in line
    assert '2 images of 2 classes' in found.notes[0]


def test_labels_of_a_list_out_of_range(tmp_path):
    make(tmp_path, 'a', 'b')
    (tmp_path / 'list.txt').write_text('a/x.png 0\nb/x.png 7\n')
    listed = ImageFolder(data_prefix=str(tmp_path), ann_file=str(tmp_path / 'list.txt'))
    (line,) = check_data_set(listed, {'head': 5}).errors
    assert 'label 7' in line and 'b/x.png' in line and 'num_classes=8' in line


def test_heads_of_a_config():
    model = dict(
        backbone=dict(num_classes=7),
        rpn_head=dict(num_classes=1),
        roi_head=dict(bbox_head=[dict(num_classes=3)], mask_head=dict(num_classes=3)),
    )
    assert head_classes(model) == {'roi_head.bbox_head.0': 3, 'roi_head.mask_head': 3}


class Listed(BaseDataset):
    """A list of labels, as mmpretrain's data sets keep it."""

    def __init__(self, labels, **settings):
        self.labels = labels
        super().__init__(ann_file='', **settings)

    def load_data_list(self):
        return [
            dict(img_path=f'{n}.png', gt_label=v) for n, v in enumerate(self.labels)
        ]


@pytest.mark.parametrize('serialize', [True, False])
@pytest.mark.parametrize(
    'label, words',
    [
        (-1, 'the label -1 of 1.png is no whole number'),
        (np.int64(-3), 'the label -3 of 1.png'),
        ([0, -1], 'the label -1 of 1.png'),
        ('2', 'the label 2 of 1.png is no whole number'),
        (1.5, 'the label 1.5 of 1.png'),
        (np.int64(9), 'the label 9 of 1.png is out of range'),
        (np.array([1, 9]), 'the label 9 of 1.png is out of range'),
    ],
)
def test_labels_that_no_head_takes(label, words, serialize):
    data = Listed([0, label, 2], serialize_data=serialize)
    (line,) = check_data_set(data, {'head': 5}).errors
    assert words in line


@pytest.mark.parametrize('label', [4, np.int64(4), [1, 4], np.array(4), None])
def test_labels_that_a_head_takes(label):
    found = check_data_set(Listed([0, label, 2]), {'head': 5})
    assert not found.errors and not found.warnings


@pytest.mark.parametrize('number', [1, 3])
def test_compared_classes_are_not_counted_again(tmp_path, number):
    found = check_data_set(make(tmp_path, 'a', 'b'), {'head': number}, compared=True)
    assert not found.errors and not found.warnings
