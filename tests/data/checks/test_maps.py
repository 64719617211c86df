"""Folders of images and label maps of one's own: each fault is told."""

import cv2
import numpy as np
import pytest

from dseq_mm.data.checks import check_files


@pytest.fixture
def checked(tmp_path):
    """Function that checks folders after a change to them."""
    reader = pytest.importorskip('mmseg.datasets').BaseSegDataset
    for folder in ('images', 'maps'):
        (tmp_path / folder).mkdir()
    for number in range(4):
        cv2.imwrite(
            str(tmp_path / f'images/{number}.png'), np.zeros((8, 12, 3), np.uint8)
        )
        write(f'{number}.png')(tmp_path)

    def run(change=lambda root: None, **settings):
        change(tmp_path)
        settings = {
            'metainfo': dict(classes=('a', 'b', 'c')),
            'img_suffix': '.png',
            'pipeline': [dict(type='mmseg.LoadAnnotations')],
            **settings,
        }
        dataset = reader(
            data_root=str(tmp_path),
            data_prefix=dict(img_path='images', seg_map_path='maps'),
            **settings,
        )
        return check_files(dataset)

    return run


def write(name, values=None, shape=(8, 12)):
    """Write a map of the labels 0, 1, 2 and 255, or of others."""

    def apply(root):
        labels = np.resize(np.array(values or [0, 1, 2, 255]), shape)
        dtype = np.uint16 if labels.max() > 255 else np.uint8
        cv2.imwrite(str(root / 'maps' / name), labels.astype(dtype))

    return apply


def all_maps(values):
    return lambda root: [write(f'{n}.png', values)(root) for n in range(4)]


def rename(old, new):
    return lambda root: (root / old).rename(root / new)


ERRORS = [
    (rename('maps/2.png', 'maps/x.txt'), {}, 'without a map', '2.png'),
    (lambda root: None, dict(img_suffix='.jpg', lazy_init=True), 'no image', "'.jpg'"),
    (write('0.png', [3]), {}, 'labels beyond 2', 'reduce_zero_label=True'),
    (write('0.png', [700]), {}, 'labels beyond 2', 'label 700'),
    (write('0.png', [1], (8, 12, 3)), {}, 'in color', '1 of 4'),
    (write('0.png', [1], (12, 8)), {}, 'differ in size', '(12, 8)'),
    (lambda root: (root / 'maps/0.png').write_bytes(b'x'), {}, 'decoded', '0.png'),
    (all_maps([0]), dict(reduce_zero_label=True), 'ignores', 'no label but 0'),
    (
        lambda root: None,
        dict(pipeline=[dict(type='mmseg.LoadAnnotations', reduce_zero_label=True)]),
        'set both alike',
        'reduce_zero_label',
    ),
    (lambda root: None, dict(seg_map_suffix='_L.png'), '4 of 4', 'seg_map_suffix'),
]


@pytest.mark.parametrize('change, settings, words, more', ERRORS)
def test_errors_are_named(checked, change, settings, words, more):
    errors = checked(change, **settings).errors
    assert any(words in line and more in line for line in errors), errors


WARNINGS = [
    (rename('images/1.png', 'images/1.jpg'), {}, 'img_suffix', '1.jpg'),
    (rename('images/1.png', 'images/1.PNG'), {}, 'img_suffix', '1.PNG'),
    (write('9.png'), {}, 'without an image', '9.png'),
    (lambda root: None, dict(reduce_zero_label=True), 'first class', 'False'),
    (all_maps([0, 255]), {}, '255 is ignored', ''),
]


@pytest.mark.parametrize('change, settings, words, more', WARNINGS)
def test_warnings_are_given(checked, change, settings, words, more):
    found = checked(change, **settings)
    assert found.errors == []
    assert any(words in line and more in line for line in found.warnings), found


def test_good_folders_pass(checked):
    found = checked()
    assert found.errors == [] and found.warnings == []


def test_without_maps_in_the_pipeline(checked):
    found = checked(lambda root: (root / 'maps/0.png').unlink(), pipeline=[])
    assert found.errors == []
