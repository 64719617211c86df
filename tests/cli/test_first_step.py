"""What fails in the first step of a run is one line, what fails later is not hidden."""

import itertools
import logging

import pytest
import torch
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from mmpretrain.registry import DATASETS, METRICS, MODELS
from torch import nn

from dseq_mm.utils import command
from tests.end_to_end.runs import run_tool

CONFIG = """
default_scope = 'mmpretrain'
model = dict(type='FailsAtStep', norm='', at=-1)
train_dataloader = dict(
    batch_size=4, collate_fn=dict(type='pseudo_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='NumberedImages', size=9, pipeline=[]))
val_dataloader = dict(
    batch_size=2, collate_fn=dict(type='pseudo_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='NumberedImages', size=4, pipeline=[]))
test_dataloader = val_dataloader
val_evaluator = dict(type='CountsImages')
test_evaluator = val_evaluator
train_cfg = dict(by_epoch=True, max_epochs=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
"""


@pytest.fixture(autouse=True)
def toys():
    """Register the toys for the length of a test."""

    class FailsAtStep(BaseModel):
        """Fails in one of its calls, or has a norm over images or over their pixels."""

        def __init__(self, norm, at):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))
            self.norm = getattr(nn, norm)(2) if norm else nn.Identity()
            self.at, self.calls = at, -1

        def forward(self, inputs, data_samples, mode='tensor'):
            self.calls += mode == 'loss' or not self.training
            if self.calls == self.at:
                raise RuntimeError('shapes\ndo not fit')
            inputs = torch.stack(inputs)
            if 'BatchNorm2d' not in str(self.norm):
                inputs = inputs.mean((2, 3))
            if mode == 'loss':
                return dict(loss=(self.norm(inputs) * self.weight).pow(2).mean())
            return data_samples

    class NumberedImages(BaseDataset):
        def __init__(self, size, **kwargs):
            self.size = size
            super().__init__(**kwargs)

        def load_data_list(self):
            return [dict(img_path=f'{index}.png') for index in range(self.size)]

        def prepare_data(self, idx):
            image = torch.rand(2, 3, 3)
            sample = BaseDataElement(metainfo=self.get_data_info(idx))
            return dict(inputs=image, data_samples=sample)

    class CountsImages(BaseMetric):
        def process(self, data_batch, data_samples):
            self.results += data_samples

        def compute_metrics(self, results):
            return dict(images=len(results))

    pairs = (MODELS, FailsAtStep), (DATASETS, NumberedImages), (METRICS, CountsImages)
    for registry, toy in pairs:
        registry.register_module(module=toy, force=True)
    yield
    for registry, toy in pairs:
        registry._module_dict.pop(toy.__name__)


@pytest.fixture
def answer(tmp_path, monkeypatch, capsys):
    """Runs a tool on the config: its status and the lines on stderr."""
    monkeypatch.chdir(tmp_path)
    # the loggers of earlier runs write to what pytest has closed
    monkeypatch.setattr(logging, 'raiseExceptions', False)
    (tmp_path / 'toy.py').write_text(CONFIG)

    runs = itertools.count()

    def run(tool, *arguments):
        def main(argv):
            run_tool(tool, *argv)

        # a name of its own, or the runner takes the logger of an earlier one
        own = ['--cfg-options', f'experiment_name={tmp_path.name}-{next(runs)}']
        status = command.run(main, ['toy.py', *arguments, *own])
        return status, capsys.readouterr().err.splitlines()

    return run


def test_the_first_step_of_a_training(answer):
    options = ['--no-validate', '--cfg-options', 'model.at=0']
    status, lines = answer('train', *options)
    assert status == 2 and len(lines) == 1
    assert lines[0].endswith(
        'error: the first training step failed: RuntimeError: shapes do not fit (in '
        'FailsAtStep; --debug shows where)'
    )
    status, lines = answer('train', '--debug', *options)
    assert status == 2 and 'Traceback' in lines[0] and 'first training' in lines[-1]


def test_a_later_step_keeps_its_traceback_and_names_images(answer):
    status, lines = answer('train', '--no-validate', '--cfg-options', 'model.at=1')
    assert status == 1 and 'Traceback' in lines[0]
    if hasattr(BaseException, 'add_note'):
        assert lines[-1] == 'Images of this step: 4.png, 5.png, 6.png, 7.png'


def test_the_validation_before_the_first_step(answer, tmp_path):
    status, lines = answer('train', '--cfg-options', 'model.at=0')
    assert status == 2 and len(lines) == 1
    assert 'the validation fails on its first images: RuntimeError' in lines[0]
    assert not list(tmp_path.glob('work_dirs/toy/*.pth'))


def test_a_validation_that_fails_later_ends_nothing(answer, tmp_path):
    # the rehearsal, three steps, a batch of the validation that goes well, this one
    status, lines = answer('train', '--cfg-options', 'model.at=5')
    assert status == 0 and not lines
    assert (tmp_path / 'work_dirs/toy/epoch_1.pth').exists()
    (log,) = tmp_path.glob('work_dirs/toy/*/*.log')
    assert (
        'The validation after 3 iterations failed, the training goes' in log.read_text()
    )


def test_the_first_step_of_a_test(answer, tmp_path):
    answer('train')
    checkpoint = str(tmp_path / 'work_dirs/toy/epoch_1.pth')
    status, lines = answer('test', checkpoint, '--cfg-options', 'model.at=0')
    assert status == 2 and len(lines) == 1 and 'the first test step failed' in lines[0]
    status, lines = answer('test', checkpoint, '--cfg-options', 'model.at=1')
    assert status == 1 and 'Traceback' in lines[0]


@pytest.mark.parametrize(
    ('norm', 'options', 'trains'),
    [
        ('BatchNorm1d', '', False),
        ('BatchNorm1d', 'train_dataloader.drop_last=True', True),
        ('BatchNorm1d', 'train_dataloader.batch_size=3', True),
        ('BatchNorm2d', '', True),
        ('', '', True),
        ('BatchNorm1d', 'max_iters=2', True),  # it does not come
        ('BatchNorm1d', 'max_iters=3', False),
    ],
)
def test_a_last_batch_of_one_image(answer, tmp_path, norm, options, trains):
    if 'max_iters' in options:
        length = f'by_epoch=False, {options}'
        text = CONFIG.replace('by_epoch=True, max_epochs=1', length)
        (tmp_path / 'toy.py').write_text(text)
        options = ''
    status, lines = answer(
        'train', '--cfg-options', f'model.norm={norm}', *options.split()
    )
    assert status == (0 if trains else 2), lines
    if not trains:
        assert len(lines) == 1
        assert 'one image, and batch norm (norm) needs more' in lines[0]
        assert not list(tmp_path.glob('work_dirs/toy/*.pth'))
