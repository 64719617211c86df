"""An evaluator's annotations are those of the data."""

from types import SimpleNamespace

import pytest

from dseq_mm.data.checks import check_evaluator


def check(listed, read=('0.png', '1.png'), file='/d/val.json'):
    """Findings for images that the evaluator lists and the data set reads."""
    images = {number: dict(file_name=name) for number, name in enumerate(listed)}
    metric = SimpleNamespace(_coco_api=SimpleNamespace(imgs=images))
    infos = [dict(img_id=n, img_path=f'/d/{name}') for n, name in enumerate(read)]
    dataset = Data(infos)
    evaluator = SimpleNamespace(metrics=[SimpleNamespace(), metric])
    return check_evaluator(dataset, evaluator, [dict(ann_file=file)], 'val')


class Data(list):
    ann_file = '/d/val.json'

    def get_data_info(self, index):
        return self[index]


@pytest.mark.parametrize('file', ['/d/val.json', '/d/copy.json'])
def test_the_same_images_pass(file):
    found = check(['0.png', '1.png'], file=file)
    assert not found.errors and not found.warnings


@pytest.mark.parametrize(
    'listed',
    [['0.png'], ['0.png', '1.png', '2.png'], ['a.png', 'b.png']],
)
def test_other_images_are_refused_with_both_files(listed):
    (line,) = check(listed, file='/d/train.json').errors
    assert '/d/train.json' in line and '/d/val.json' in line


def test_a_part_of_the_same_file_is_a_warning():
    found = check(['0.png', '1.png', '2.png'])
    assert not found.errors and '2 of 3 images' in found.warnings[0]


def test_other_evaluators_are_left_alone():
    metrics = SimpleNamespace(metrics=[SimpleNamespace(_coco_api=None)])
    found = check_evaluator(Data(), metrics, None, 'val')
    assert not found.errors and not found.warnings
