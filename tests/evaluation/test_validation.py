"""A validation is tried before the training, and never ends it."""

import os
import random

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, EMAHook, Hook
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.runner import Runner, ValLoop
from mmengine.structures import BaseDataElement
from torch import nn

from dseq_mm.cli.processes import leave_group
from dseq_mm.evaluation import validation
from dseq_mm.evaluation.validation import SteadyValLoop, rehearse
from tests.distributed.test_two_processes import run_two

CLASSES = 3


class Sample(BaseTransform):
    """Random pixels from all generators; one image may be broken."""

    def __init__(self, broken=None):
        self.broken = broken

    def transform(self, results):
        if results['sample_idx'] == self.broken:
            raise OSError(f'image {self.broken} is broken')
        noise = random.random() + np.random.rand() + torch.rand(4, 6, 6)
        element = BaseDataElement(
            metainfo=dict(img_path=results['img_path']),
            gt_label=torch.tensor([results['sample_idx'] % CLASSES]),
        )
        return dict(inputs=noise, data_samples=element)


class Data(BaseDataset):
    def __init__(self, size, **kwargs):
        self.size = size
        super().__init__(serialize_data=False, **kwargs)

    def load_data_list(self):
        return [dict(img_path=f'{i}.png') for i in range(self.size)]


class Toy(BaseModel):
    """Batch norm, dropout, a part that stays in its mode, and noise everywhere."""

    def __init__(self, fail=''):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8)
        self.frozen = nn.BatchNorm2d(8).eval()
        self.drop, self.head = nn.Dropout(0.5), nn.Linear(8, CLASSES)
        self.fail = fail

    def train(self, mode=True):
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(self, inputs, data_samples, mode='tensor'):
        inputs = torch.stack(inputs)
        maps = self.frozen(self.norm(self.conv(inputs + torch.rand_like(inputs))))
        scores = self.head(self.drop(maps.mean((2, 3))))
        if mode == 'loss':
            labels = torch.cat([sample.gt_label for sample in data_samples])
            return dict(loss=nn.functional.cross_entropy(scores, labels))
        if any(sample.img_path == self.fail for sample in data_samples):
            raise RuntimeError('this image is a bad one')
        for sample, score in zip(data_samples, scores, strict=True):
            sample.pred_score = score
        return data_samples


class Count(BaseMetric):
    """Needs many images, and counts them in a place of its own, too."""

    default_prefix = 'own'

    def __init__(self, fail=False, **attributes):
        super().__init__()
        self.fail, self.seen = fail, []
        vars(self).update(attributes)

    def process(self, data_batch, data_samples):
        self.seen.append(random.random())
        self.results += data_samples

    def compute_metrics(self, results):
        assert len(results) > 2, 'few images'
        if self.fail:
            raise ZeroDivisionError('no number')
        images = {sample['img_path'] for sample in results}
        return dict(images=len(images), batches=len(self.seen))


class Start(Hook):
    """Does what the tools do before a training; remembers what hooks are told."""

    priority = 'LOWEST'

    def __init__(self, rehearsed=True, steady=True):
        self.rehearsed, self.steady, self.told, self.calls = rehearsed, steady, [], []

    def before_train(self, runner):
        if self.rehearsed:
            modes = [part.training for part in runner.model.modules()]
            rehearse(runner)
            assert modes == [part.training for part in runner.model.modules()]
            assert not self.calls
        if self.steady:
            runner._val_loop = SteadyValLoop(runner.val_loop)

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        self.calls.append(batch_idx)

    def after_val_epoch(self, runner, metrics=None):
        self.told.append(metrics)


def loader(size, broken=None, shuffle=False, workers=0):
    data = dict(type=Data, size=size, pipeline=[Sample(broken)])
    return dict(
        batch_size=2,
        num_workers=workers,
        persistent_workers=workers > 0,
        dataset=data,
        sampler=dict(type='DefaultSampler', shuffle=shuffle),
    )


def make_runner(folder, start, metrics=None, fail='', hooks=(), **val):
    return Runner(
        model=dict(type=Toy, fail=fail),  # drawn after the seed is set
        work_dir=str(folder),
        train_dataloader=loader(4, shuffle=True),
        val_dataloader=loader(8, **val),
        val_evaluator=metrics or [Count()],
        train_cfg=dict(by_epoch=True, max_epochs=2),
        val_cfg=dict(),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        custom_hooks=[*hooks, start],
        randomness=dict(seed=3),
        default_scope='mmengine',
        experiment_name=str(folder).replace('/', '_'),
    )


@pytest.fixture
def log(monkeypatch):
    """Warnings of the run."""
    lines = []
    monkeypatch.setattr(
        MMLogger, 'warning', lambda self, text, *args, **kwargs: lines.append(text)
    )
    return lines


def test_a_rehearsal_leaves_the_training_bit_identical(tmp_path):
    ends = []
    for rehearsed in (False, True):
        start, metric = Start(rehearsed, steady=False), Count()
        runner = make_runner(tmp_path / str(rehearsed), start, [metric])
        runner.train()
        draws = random.random(), np.random.rand(), torch.rand(2).tolist()
        state = runner.model.state_dict()
        ends.append((state, draws, start.told, start.calls, metric.seen))
    for name, value in ends[0][0].items():
        assert torch.equal(value, ends[1][0][name]), name
    assert ends[0][1:] == ends[1][1:]
    assert ends[0][2][0]['own/images'] == 8


def test_what_fails_on_the_first_images_is_refused(tmp_path):
    for name, words, changes in (
        ('image', 'image 1 is broken', dict(broken=1)),
        ('model', 'RuntimeError: this image .*in Toy', dict(fail='0.png')),
    ):
        runner = make_runner(tmp_path / name, Start(), **changes)
        with pytest.raises(ValueError, match=f'first images: {words}'):
            runner.train()
        assert not runner.iter


def test_metrics_with_wrong_arguments_are_refused(tmp_path):
    from mmpretrain.evaluation import Accuracy

    for topk in (5, 'one'):
        runner = make_runner(tmp_path / str(topk), Start(), [Accuracy(topk=topk)])
        with pytest.raises(ValueError, match='first images: .*in Accuracy'):
            runner.train()
    assert not runner.iter
    make_runner(tmp_path / 'fine', Start(), [Accuracy(topk=(1, 3))]).train()


def test_metrics_of_segmentation(tmp_path, capsys):
    metric = pytest.importorskip('mmseg.evaluation').IoUMetric(iou_metrics=['foo'])
    metric.results.append((torch.ones(3),) * 4)
    metric.dataset_meta = dict(classes=('a', 'b', 'c'))
    kind = type(metric)
    assert (kind.__module__.partition('.')[0], kind.__name__) in validation._SURE
    with pytest.raises(KeyError, match='foo'):
        metric.compute_metrics(metric.results)


@pytest.mark.parametrize(
    'attributes',
    [
        dict(output_dir='x'),
        dict(outfile_prefix='x'),
        dict(out_file_path='x.pkl'),
        dict(format_only=True),
    ],
)
def test_metrics_that_write_are_not_tried(attributes):
    assert not list(validation._copies([Count(**attributes)]))
    assert list(validation._copies([Count(**dict.fromkeys(attributes))]))


def test_a_validation_that_never_comes_is_not_tried(tmp_path):
    runner = make_runner(tmp_path, Start(), broken=0)
    runner._train_loop['val_begin'] = 3
    runner.train()
    assert runner.iter == 4


@pytest.mark.parametrize('workers', [0, 2])
def test_the_training_goes_on_without_an_image(tmp_path, log, workers):
    start = Start()
    runner = make_runner(tmp_path, start, broken=5, workers=workers)
    runner.train()
    assert runner.iter == 4 and not start.told
    failures = [line for line in log if 'goes on' in line]
    assert len(failures) == 2
    assert 'after 2 iterations' in failures[0]
    assert 'OSError: image 5 is broken (in Sample, 5.png)' in failures[0]
    assert (tmp_path / 'epoch_2.pth').exists()


def test_the_next_validation_is_whole(tmp_path, log):
    start, metric = Start(), Count()
    runner = make_runner(tmp_path, start, [metric], fail='6.png')

    class Heal(Hook):
        def before_train_epoch(self, runner):
            if runner.epoch == 1:
                runner.model.fail = ''
                metric.seen.clear()

    runner.register_hook(Heal())
    runner.train()
    assert [line for line in log if '(in Toy, 6.png and 1 more)' in line]
    assert start.told == [{'own/images': 8, 'own/batches': 4}]


def test_a_metric_that_fails_is_a_warning(tmp_path, log):
    start = Start()
    make_runner(tmp_path, start, [Count(), Count(fail=True)]).train()
    failures = [line for line in log if 'goes on' in line]
    assert len(failures) == 2 and not start.told
    assert 'ZeroDivisionError: no number (in Count)' in failures[0]


def test_hooks_that_wait_for_a_metric_are_not_asked(tmp_path, log):
    hooks = [
        CheckpointHook(save_best='own/images', rule='greater'),
        EarlyStoppingHook(monitor='own/images', rule='greater', strict=True),
    ]
    runner = make_runner(tmp_path, Start(), [Count(), Count(fail=True)], hooks=hooks)
    runner.train()
    assert runner.iter == 4 and not list(tmp_path.glob('best*'))


def test_averaged_weights_are_put_back(tmp_path, log):
    class Swaps(EMAHook):
        values = []

        def before_val_epoch(self, runner):
            self.values.append(runner.model.head.weight[0, 0].item())
            super().before_val_epoch(runner)
            self.values.append(runner.model.head.weight[0, 0].item())

        def after_val(self, runner):
            self.values.append(runner.model.head.weight[0, 0].item())

    make_runner(tmp_path, Start(), broken=5, hooks=[Swaps(momentum=0.5)]).train()
    before, averaged, after = Swaps.values[:3]
    assert before == after != averaged


def test_other_loops_are_left_alone(tmp_path):
    class Own(ValLoop):
        def run(self):
            self.runs = True

    runner = make_runner(tmp_path, Start(steady=False), broken=0)
    runner._val_loop['type'] = Own
    runner.train()
    assert runner.val_loop.runs


def worker(rank, file, out):
    """One process fails: all agree, none waits."""
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{file}', rank=rank, world_size=2
    )
    torch.set_num_threads(1)
    os.chdir(os.path.dirname(out))  # the host collects results in a folder there
    found = {}
    # image 5 is one of the second process, metrics are computed by the first one
    for name, changes in (
        ('image', dict(broken=5)),
        ('metric', dict(metrics=[Count(fail=True)])),
        ('fine', dict()),
        ('first', dict(broken=3)),
    ):
        start = Start()
        runner = make_runner(f'{out}_{name}', start, **changes)
        try:
            runner.train()
        except ValueError as error:
            found[f'{name} error'] = str(error)
        found[name] = [runner.iter, len(start.told)]
    torch.save(found, f'{out}.{rank}')
    leave_group()


def test_processes_agree(tmp_path):
    for found in run_two(worker, tmp_path):
        assert found['image'] == found['metric'] == [2, 0]
        assert found['fine'] == [2, 2]
        assert found['first'] == [0, 0]
        assert 'image 3 is broken' in found['first error']
