"""The data sets of image files: classes by name, lists, and what they refuse."""

import numpy as np
import pytest
from mmpretrain.datasets import CustomDataset, ImageNet
from mmpretrain.registry import DATASETS

from dseq_mm.data import ImageFolder, ImageNetFolder

from .odd_folders import put


@pytest.fixture
def folder(tmp_path):
    put(tmp_path, 'cat/1.png', 'cat/2.jpg', 'dog/1.png', 'emu/deep/1.webp')
    return tmp_path


def build(folder, kind='ImageFolder', **kwargs):
    return DATASETS.build(dict(type=kind, data_root=str(folder), **kwargs))


def test_ordinary_folders_are_as_with_mmpretrain(folder):
    settings = dict(data_root=str(folder), extensions=('.png', '.jpg', '.webp'))
    for with_label in (True, False):
        theirs = CustomDataset(**settings, with_label=with_label)
        ours = ImageFolder(**settings, with_label=with_label)
        assert ours.metainfo == theirs.metainfo and len(ours) == len(theirs) == 4
        for index in range(4):
            assert ours.get_data_info(index) == theirs.get_data_info(index)
    assert ours.files.formats == {'.png': 2, '.jpg': 1, '.webp': 1}


def test_a_hidden_folder_is_no_class(folder):
    put(folder, '.ipynb_checkpoints/1-checkpoint.png', '@eaDir/1.png')
    dataset = build(folder)
    assert dataset.metainfo['classes'] == ('cat', 'dog', 'emu')
    np.testing.assert_array_equal(dataset.get_gt_labels(), [0, 0, 1, 2])
    assert '.ipynb_checkpoints' in dataset.files.lines()[0]


def test_an_empty_class_stays_a_class(folder):
    (folder / 'ape').mkdir()
    dataset = build(folder)
    assert dataset.metainfo['classes'] == ('ape', 'cat', 'dog', 'emu')
    np.testing.assert_array_equal(dataset.get_gt_labels(), [1, 1, 2, 3])
    assert '1 classes without images (ape)' in dataset.files.lines()[0]


@pytest.mark.parametrize('key', ['classes', 'metainfo'])
def test_given_classes_are_names(folder, key):
    names = ['dog', 'bee', 'emu', 'cat']
    given = dict(classes=names) if key == 'classes' else dict(metainfo={key: names})
    given = given if key == 'classes' else dict(metainfo=dict(classes=names))
    dataset = build(folder, **given)
    np.testing.assert_array_equal(dataset.get_gt_labels(), [3, 3, 0, 2])
    assert [*dataset.metainfo['classes']] == names
    with pytest.raises(ValueError, match="first 'emu': classes are the names"):
        build(folder, classes=['cat', 'dog'])


def test_missing_and_useless_folders(folder):
    with pytest.raises(ValueError, match='gone.*does not exist: check data_root'):
        build(folder / 'gone')
    put(folder / 'gifs', 'a.gif')
    with pytest.raises(ValueError, match='formats that are not read .*gif'):
        build(folder / 'gifs', with_label=False)
    put(folder / 'flat', 'a.png')
    with pytest.raises(ValueError, match='beside the class folders .a.png'):
        build(folder / 'flat')
    remote = build(folder, lazy_init=True)
    remote.data_prefix['img_path'] = 's3://bucket/images'
    with pytest.raises(ValueError, match='not a local folder: list its images'):
        remote.full_init()


def test_lists(folder):
    (folder / 'list.txt').write_bytes(
        b'\xef\xbb\xbfcat/1.png 1\r\n\r\ndog/1.png 0\r\nemu/deep/1.webp 2'
    )
    dataset = build(folder, ann_file='list.txt', classes=['a', 'b', 'c'])
    assert dataset.files is None
    np.testing.assert_array_equal(dataset.get_gt_labels(), [1, 0, 2])
    (folder / 'plain.txt').write_text('cat/1.png\ndog/1.png\n')
    dataset = build(folder, ann_file='plain.txt', with_label=False)
    assert dataset.get_data_info(1)['img_path'] == f'{folder}/dog/1.png'


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('', 'lists no images'),
        ('cat/1.png cat', 'line 1: .* is not "file label"'),
        ('cat/1.png 0\ncat/2.jpg', 'line 2'),
        ('cat/1.png -1', 'line 1'),
        ('cat/1.png 3', 'label 3 is not one of 3 classes'),
        ('cat/1.png 0\ncat/9.png 0\ngone/1.png 1', '2 of 3 .* do not exist, first .*9'),
    ],
)
def test_wrong_lists(folder, text, reason):
    (folder / 'list.txt').write_text(text)
    with pytest.raises(ValueError, match=reason):
        build(folder, ann_file='list.txt', classes=['a', 'b', 'c'])


def test_imagenet(folder, monkeypatch):
    with pytest.raises(ValueError, match='has 3 class folders, ImageNet has 1,000'):
        build(folder, 'ImageNetFolder')
    dataset = build(folder, 'ImageNetFolder', classes=['dog', 'cat', 'emu'])
    np.testing.assert_array_equal(dataset.get_gt_labels(), [1, 1, 0, 2])
    names = [f'n{number:08d}' for number in range(1000)]
    put(folder / 'data' / 'train', *(f'{name}/1.JPEG' for name in names))
    put(folder / 'data' / 'val', 'b.JPEG', 'a.JPEG')
    (folder / 'data' / 'meta').mkdir()
    (folder / 'data' / 'meta' / 'val.txt').write_text('b.JPEG 7\na.JPEG 999\n')
    root = str(folder / 'data')
    for split in ('train', 'val'):
        ours = ImageNetFolder(data_root=root, split=split)
        theirs = ImageNet(data_root=root, split=split)
        np.testing.assert_array_equal(ours.get_gt_labels(), theirs.get_gt_labels())
        assert ours.metainfo == theirs.metainfo
