"""Annotation files of one's own: each fault is told before training."""

import copy
import json
import math

import cv2
import numpy as np
import pytest

from dseq_mm.data.checks import check_files

NAMES = ('cat', 'dog', 'cow')


def good():
    box = dict(bbox=[2, 2, 10, 10], area=100.0, iscrowd=0)
    polygon = [[2, 2, 12, 2, 12, 12, 2, 12]]
    return dict(
        images=[
            dict(id=i, file_name=f'{i}.png', width=32, height=24) for i in range(3)
        ],
        annotations=[
            dict(id=n, image_id=n % 3, category_id=n % 3 + 1, segmentation=polygon)
            | copy.deepcopy(box)
            for n in range(6)
        ],
        categories=[dict(id=n + 1, name=name) for n, name in enumerate(NAMES)],
    )


@pytest.fixture
def checked(tmp_path):
    """Function that checks an annotation file after a change to it."""
    coco = pytest.importorskip('mmdet.datasets').CocoDataset
    (tmp_path / 'images').mkdir()
    for number in range(3):
        cv2.imwrite(
            str(tmp_path / f'images/{number}.png'), np.zeros((24, 32, 3), np.uint8)
        )

    def run(change=lambda content: None, classes=NAMES, with_mask=True, **how):
        content = good()
        change(content)
        text = json.dumps(content)
        (tmp_path / 'own.json').write_text(text, encoding=how.get('encoding'))
        dataset = coco(
            ann_file='own.json',
            data_root=str(tmp_path),
            data_prefix=dict(img='images/'),
            metainfo=dict(classes=classes),
            pipeline=[
                dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=with_mask)
            ],
            lazy_init=True,
        )
        return check_files(dataset)

    return run


def first(part, **values):
    return lambda content: content[part][0].update(values)


def drop(part, key):
    return lambda content: content[part][0].pop(key)


def every(part, **values):
    return lambda content: [thing.update(values) for thing in content[part]]


def mask(value):
    return first('annotations', segmentation=value)


ERRORS = [
    (first('categories', name='Cat'), 'did you mean', 'Cat'),
    (lambda c: c['categories'].pop(), 'lacks 1 of 3 classes', 'cow'),
    (lambda c: c['categories'].reverse(), 'another order', "('cow', 'dog', 'cat')"),
    (first('categories', name='dog'), 'twice', 'dog'),
    (first('annotations', segmentation=[]), '1 of 6', 'segmentation'),
    (drop('annotations', 'segmentation'), '1 of 6', 'segmentation'),
    (first('images', file_name='none.png'), 'do not exist', 'none.png'),
    (first('annotations', image_id=77), 'unknown image_id', '1 of 6'),
    (first('annotations', category_id=77), 'unknown category_id', '1 of 6'),
    (first('annotations', id=3), 'ids of annotations', 'duplicate'),
    (first('images', id=1), 'ids of images', 'duplicate'),
    (first('categories', id=2), 'ids of categories', 'duplicate'),
    (lambda c: c['annotations'].clear(), 'no annotation', 'instances'),
    (lambda c: c['images'].clear(), 'lists no images', ''),
    (drop('annotations', 'area'), "no 'area'", '1 of 6'),
    (drop('images', 'width'), "no 'width'", '1 of 3'),
    (first('images', width=0), 'no positive width', '0.png'),
    (lambda c: c.pop('categories'), 'no list of categories', ''),
    (first('annotations', bbox=[1, 2, 3]), 'bbox', '1 of 6'),
    (every('annotations', bbox=[0.1, 0.1, 0.4, 0.4]), 'none of 6', 'pixel'),
    (first('annotations', area=None), "'area' that is no number", 'None'),
    (first('annotations', image_id=[1]), "'image_id' that is no whole", '[1]'),
    (first('annotations', id={}), "'id' that is no whole", '{}'),
    (first('images', file_name=3), "'file_name' that is no text", '1 of 3'),
    (first('categories', name=None), "'name' that is no text", 'None'),
    (lambda c: c['annotations'].append(7), 'no dict', 'number 6 is 7'),
    (lambda c: c['images'].insert(0, None), 'no dict', 'number 0 is None'),
    (lambda c: c['categories'].clear(), "list of 'categories' is empty", 'id and name'),
    (mask('2,2,12,2,12,12'), 'neither a list of polygons', '1 of 6'),
    (mask([2, 2, 12, 2, 12, 12]), 'neither a list of polygons', '1 of 6'),
    (mask([[2, 2, '12', 2, 12, 12]]), 'neither a list of polygons', '1 of 6'),
    (mask([[2, 2, math.nan, 2, 12, 12]]), 'neither a list of polygons', '1 of 6'),
    (mask(dict(counts=[768])), 'neither a list of polygons', '1 of 6'),
    (mask(dict(size=[24, 32], counts=None)), 'nor run lengths', '1 of 6'),
    (mask(dict(size=[32, 24], counts=[768])), 'the size [32, 24]', '[24, 32]'),
    (mask(dict(size=[32, 24], counts='PPYo0')), 'the size [32, 24]', 'height, width'),
    (mask(dict(size=[24, 32], counts=[10, 5])), 'sum is not height', '1 of 6'),
]


@pytest.mark.parametrize('change, words, more', ERRORS)
def test_errors_are_named(checked, change, words, more):
    errors = checked(change).errors
    assert any(words in line and more in line for line in errors), errors


def test_a_folder_is_no_image(checked, tmp_path):
    (tmp_path / 'images/0.png').unlink()
    (tmp_path / 'images/0.png').mkdir()
    (error,) = checked().errors
    assert '1 of 3' in error and '0.png' in error and 'do not exist as files' in error


WARNINGS = [
    (first('annotations', area=0), 'left out', '1 of 6'),
    (first('annotations', bbox=[2, 2, 0, 4]), 'left out', '1 of 6'),
    (first('annotations', bbox=[2, 2, 33, 23]), 'beyond', 'not two corners'),
    (first('annotations', segmentation=[[1, 2, 3, 4]]), 'three points', '1 of 6'),
    (lambda c: c['categories'].append(dict(id=9, name='owl')), 'not trained', 'owl'),
    (first('images', file_name='1.png'), 'more than once', '1.png'),
]


@pytest.mark.parametrize('change, words, more', WARNINGS)
def test_warnings_are_given(checked, change, words, more):
    found = checked(change)
    assert found.errors == []
    assert any(words in line and more in line for line in found.warnings), found


def crowd(content):
    rle = dict(counts=[10, 5, 753], size=[24, 32])
    content['annotations'][0].update(segmentation=rle, iscrowd=1)


def ignored_without_mask(content):
    content['annotations'][0].update(segmentation=[], ignore=1)


@pytest.mark.parametrize('change', [lambda c: None, crowd, ignored_without_mask])
def test_good_files_pass(checked, change):
    found = checked(change)
    assert found.errors == [] and found.warnings == []


def test_boxes_alone_need_no_masks(checked):
    found = checked(every('annotations', segmentation=[]), with_mask=False)
    assert found.errors == []


def test_one_class_without_a_comma(checked):
    assert "('cat',)" in checked(classes='cat').errors[0]


def test_a_doubled_class_is_named(checked):
    (line,) = checked(classes=('cat', 'dog', 'cat')).errors
    assert 'first cat' in line and 'twice' in line


def test_a_byte_order_mark_is_named_with_its_file(checked):
    (line,) = checked(encoding='utf-8-sig').errors
    assert 'own.json begins with a byte order mark' in line
