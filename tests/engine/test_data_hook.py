"""Data are looked at before the first step."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from torch import nn

from dseq_mm.data import ImageFolder
from dseq_mm.engine import DataHook


class Log(list):
    def _add(self, line):
        self.append(line)

    info = warning = error = _add


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """Function that makes what the hook sees of a runner."""
    monkeypatch.setattr('dseq_mm.engine.data_hook.BaseLoop', SimpleNamespace)

    def loop(split, classes):
        if classes is None:
            return None
        for name in classes:
            (tmp_path / split / name).mkdir(parents=True)
            path = str(tmp_path / split / name / 'x.png')
            cv2.imwrite(path, np.zeros((8, 8, 3), np.uint8))
        dataset = ImageFolder(data_root=str(tmp_path / split))
        return SimpleNamespace(
            dataloader=SimpleNamespace(dataset=dataset), evaluator=SimpleNamespace()
        )

    def make(head=None, **splits):
        model = nn.Module()
        if head is not None:
            model.head = nn.Module()
            model.head.num_classes = head
        loops = {
            f'{name}_loop': loop(name, splits.get(name))
            for name in ('train', 'val', 'test')
        }
        return SimpleNamespace(model=model, logger=Log(), cfg={}, **loops)

    return make


def test_the_log_tells_what_is_used(runner):
    run = runner(train='ab')
    DataHook().before_train(run)
    assert any('train: 2 images of 2 classes (2 .png)' in line for line in run.logger)


def test_validation_has_the_labels_of_the_training(runner):
    run = runner(head=3, train='abc', val='bc')
    DataHook().before_train(run)
    dataset = run.val_loop.dataloader.dataset
    assert [dataset.get_data_info(i)['gt_label'] for i in range(2)] == [1, 2]
    assert run.val_loop.evaluator.dataset_meta['classes'] == ('a', 'b', 'c')
    assert any('mapped by name' in line for line in run.logger)


@pytest.mark.parametrize(
    'settings, words',
    [
        (dict(train='ab', val='ax'), 'are unknown'),
        (dict(head=1, train='ab'), 'num_classes=1'),
    ],
)
def test_refused_before_training(runner, settings, words):
    with pytest.raises(ValueError, match=words):
        DataHook().before_train(runner(**settings))


def checkpoint(*classes):
    return dict(meta=dict(dataset_meta=dict(classes=classes)))


def test_a_test_has_the_classes_of_the_checkpoint(runner):
    run, hook = runner(head=3, test='bc'), DataHook()
    hook.after_load_checkpoint(run, checkpoint('a', 'b', 'c'))
    hook.before_test(run)
    dataset = run.test_loop.dataloader.dataset
    assert [dataset.get_data_info(i)['gt_label'] for i in range(2)] == [1, 2]
    hook.after_load_checkpoint(run, checkpoint('x', 'y'))
    with pytest.raises(ValueError, match='test data against the checkpoint'):
        hook.before_test(run)


def test_checkpoints_without_classes(runner):
    run, hook = runner(head=2, test='ab'), DataHook()
    for content in ({}, dict(meta={}), dict(meta=dict(dataset_meta=None))):
        hook.after_load_checkpoint(run, content)
        hook.before_test(run)


def test_one_cause_is_told_once(runner):
    run = runner(head=3, train='abcd', val='bc')
    with pytest.raises(ValueError, match='train: the data have 4 classes'):
        DataHook().before_train(run)
    assert not any('val: the data have' in line for line in run.logger)


def test_an_unknown_class_is_told_once(runner):
    run = runner(head=2, train='ab', val='abx')
    with pytest.raises(ValueError, match='are unknown') as caught:
        DataHook().before_train(run)
    assert 'more problem' not in str(caught.value)


def test_an_evaluator_of_other_annotations_is_refused(runner):
    run = runner(head=2, train='ab', val='ab')
    infos = [dict(img_id=3, img_path='/data/x.png')]
    run.val_loop.dataloader.dataset = coco_like('/data/val.json', infos)
    images = {3: dict(file_name='x.png')}
    metric = SimpleNamespace(_coco_api=SimpleNamespace(imgs=images))
    run.val_loop.evaluator.metrics = [metric]
    run.cfg = dict(val_evaluator=dict(ann_file='/data/train.json'))
    DataHook().before_train(run)
    images[4] = dict(file_name='y.png')
    with pytest.raises(ValueError, match='/data/train.json.*reads /data/val.json'):
        DataHook().before_train(run)


def coco_like(ann_file, infos):
    class Data(list):
        def get_data_info(self, index):
            return self[index]

    data = Data(infos)
    data.ann_file = ann_file
    return data
