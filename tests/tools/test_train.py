"""tools/train.py and tools/test.py on a model of one weight, and their errors."""

import errno
import json
import socket
from pathlib import Path

import pytest
import torch
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS, METRICS, MODELS

from dseq_mm.engine.work_dir import WorkDirLock

CONFIG = """
default_scope = 'mmpretrain'
model = dict(type='ToyForTools')
train_dataloader = dict(
    batch_size=2, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ToyDataForTools', pipeline=[]))
train_cfg = dict(by_epoch=True, max_epochs=2)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
custom_hooks = [dict(type='ProgressHook')]
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1))
"""
TEST_LOOP = """
test_dataloader = dict(batch_size=1, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ToyDataForTools', pipeline=[]))
test_cfg = dict()
test_evaluator = dict(type='ToyMetricForTools')
"""


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    """Register the toys for the length of a test."""

    class ToyForTools(BaseModel):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(()))

        def forward(self, inputs, mode='tensor'):
            if mode == 'loss':
                return dict(loss=self.weight**2)
            return [self.weight.item()]

    class ToyDataForTools(BaseDataset):
        def load_data_list(self):
            return [dict(inputs=torch.zeros(1)) for _ in range(4)]

        def prepare_data(self, idx):
            return dict(inputs=torch.zeros(1))

    class ToyMetricForTools(BaseMetric):
        def process(self, data_batch, data_samples):
            self.results += data_samples

        def compute_metrics(self, results):
            return dict(weight=sum(results) / len(results))

    for registry, toy in (
        (MODELS, ToyForTools), (DATASETS, ToyDataForTools), (METRICS, ToyMetricForTools)
    ):  # fmt: skip
        registry.register_module(module=toy, force=True)
    yield
    for registry, name in (
        (MODELS, 'ToyForTools'), (DATASETS, 'ToyDataForTools'),
        (METRICS, 'ToyMetricForTools'),
    ):  # fmt: skip
        registry._module_dict.pop(name)


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'toy.py'
    path.write_text(CONFIG)
    return path


def weight_of(path):
    return torch.load(path, weights_only=False)['state_dict']['weight']


def test_train_resume_test(config, load_tool, tmp_path):
    train, test = load_tool('train'), load_tool('test')
    train.main([str(config)])
    work_dir = tmp_path / 'work_dirs' / 'toy'
    assert weight_of(work_dir / 'epoch_2.pth') == pytest.approx(0.8**4)

    # one more epoch, from the checkpoint that is there
    longer = ['--cfg-options', 'train_cfg.max_epochs=3']
    train.main([str(config), '--resume', *longer])
    assert weight_of(work_dir / 'epoch_3.pth') == pytest.approx(0.8**6)

    config.write_text(CONFIG + TEST_LOOP)
    arguments = [str(config), str(work_dir / 'epoch_3.pth'), '--work-dir', 'tested']
    test.main([*arguments, '--out', 'metrics.json'])
    results = list((tmp_path / 'tested').glob('*/*.json'))
    assert json.loads(results[0].read_text())['weight'] == pytest.approx(0.8**6)
    written = json.loads((tmp_path / 'metrics.json').read_text())
    assert written == dict(weight=pytest.approx(0.8**6))


def test_no_thread_of_gloo_outlives_the_run(config, load_tool, monkeypatch):
    # one that still holds a tensor when Python ends aborts the process
    def threads():
        names = [path.read_text() for path in Path('/proc/self/task').glob('*/comm')]
        return sum('gloo' in name for name in names)

    if not Path('/proc/self/task').is_dir():
        pytest.skip('cannot count threads here')
    before = threads()
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    for name, value in dict(
        RANK=0, WORLD_SIZE=1, LOCAL_RANK=0, MASTER_ADDR='127.0.0.1', MASTER_PORT=port
    ).items():
        monkeypatch.setenv(name, str(value))
    config.write_text(CONFIG + TEST_LOOP)
    seen = []
    evaluate = METRICS.get('ToyMetricForTools').compute_metrics
    monkeypatch.setattr(
        METRICS.get('ToyMetricForTools'), 'compute_metrics',
        lambda *args: seen.append(threads()) or evaluate(*args),
    )  # fmt: skip
    load_tool('train').main([str(config), '--launcher', 'pytorch'])
    assert threads() == before
    checkpoint = 'work_dirs/toy/epoch_2.pth'
    load_tool('test').main([str(config), checkpoint, '--launcher', 'pytorch'])
    assert threads() == before < seen[0]


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_what_processes_change_is_in_the_log(config, load_tool, monkeypatch, tool):
    module, seen = load_tool(tool), []
    monkeypatch.setattr(module, 'prepare_distributed', lambda *args: ['a note'])
    monkeypatch.setattr(
        module.launch, 'run', lambda cfg, notes, *_, **__: seen.append(notes) or {}
    )
    config.write_text(CONFIG + TEST_LOOP)
    config.with_suffix('.pth').touch()
    checkpoint = [str(config.with_suffix('.pth'))] if tool == 'test' else []
    module.main([str(config), *checkpoint])
    assert seen == [['a note']]


def test_bar_goes_when_training_fails(config, load_tool, monkeypatch):
    closed = []
    monkeypatch.setattr(
        'dseq_mm.engine.progress_hook.ProgressHook.close_bar',
        lambda self, runner=None: closed.append(runner),
    )
    monkeypatch.setattr(
        MODELS.get('ToyForTools'), 'train_step', lambda *args, **kwargs: 1 / 0
    )
    with pytest.raises(ValueError, match='ZeroDivisionError'):
        load_tool('train').main([str(config)])
    assert len(closed) == 1


def test_knn_of_a_pretraining_config(config, load_tool, monkeypatch, capsys):
    config.write_text(CONFIG + "custom_hooks.append(dict(type='KNNHook'))\n")
    checkpoint = config.with_suffix('.pth')
    checkpoint.touch()
    monkeypatch.setattr(
        'dseq_mm.evaluation.knn.evaluate_config',
        lambda cfg, path: dict(knn_last=12.5, asked=str(path)),
    )
    load_tool('test').main([str(config), str(checkpoint)])
    written = json.loads((config.parent / 'work_dirs/toy/knn.json').read_text())
    assert written == dict(knn_last=12.5, asked=str(checkpoint))
    assert '"knn_last": 12.5' in capsys.readouterr().out
    load_tool('test').main([str(config), str(checkpoint), '--out', 'here.json'])
    assert json.loads((config.parent / 'here.json').read_text()) == written


def test_nothing_to_evaluate(config, load_tool):
    checkpoint = config.with_suffix('.pth')
    checkpoint.touch()
    with pytest.raises(ValueError, match='neither a test_dataloader nor a KNNHook'):
        load_tool('test').main([str(config), str(checkpoint)])
    with pytest.raises(ValueError, match='no checkpoint'):
        load_tool('test').main([str(config), 'missing.pth'])


def test_pictures_need_a_hook(config, load_tool):
    checkpoint = config.with_suffix('.pth')
    checkpoint.touch()
    with pytest.raises(ValueError, match='--show-dir draws with the visualization'):
        load_tool('test').main([str(config), str(checkpoint), '--show-dir', 'shown'])


@pytest.mark.parametrize('argument', [['--checkpoint', 'x.pth'], ['--from-scratch']])
def test_start_is_for_transfer_configs(config, load_tool, argument):
    with pytest.raises(ValueError, match=f'{argument[0]} is for transfer configs: toy'):
        load_tool('train').main([str(config), *argument])


def test_transfer_needs_a_start_before_anything_is_built(config, load_tool):
    init_cfg = "dict(type='StrictPretrained', checkpoint=None)"
    config.write_text(
        CONFIG + f"model = dict(type='Missing', backbone=dict(init_cfg={init_cfg}))\n"
    )
    train = load_tool('train').main
    with pytest.raises(ValueError, match='--checkpoint PATH with the tools/train.py'):
        train([str(config)])
    with pytest.raises(ValueError, match='--checkpoint PATH'):
        train([str(config), '--resume', 'auto'])  # where there is nothing yet
    with pytest.raises(FileNotFoundError, match='none.pth is not a file'):
        train([str(config), '--checkpoint', 'none.pth'])
    with pytest.raises(KeyError, match='Missing'):  # only now the model is built
        train([str(config), '--from-scratch'])


def test_data_folder_is_checked_before_anything_is_built(config, load_tool):
    with pytest.raises(ValueError, match='no such folder'):
        load_tool('train').main([str(config), '--data', 'missing'])


def test_train_arguments(load_tool):
    parse = load_tool('train').parse_args
    args = parse(['c.py', '--resume', '--amp', '--auto-scale-lr', '--no-validate'])
    assert args.resume == 'newest' and args.amp and args.auto_scale_lr
    assert not args.insist
    assert args.no_validate and args.launcher == 'none' and args.data is None
    assert args.checkpoint is None and not args.from_scratch
    assert parse(['c.py', '--checkpoint', 'x.pth']).checkpoint == 'x.pth'
    assert parse(['c.py', '--from-scratch']).from_scratch
    with pytest.raises(SystemExit):
        parse(['c.py', '--from-scratch', '--checkpoint', 'x.pth'])
    args = parse(['c.py', '--resume', 'x.pth', '--data', 'images', '--local_rank=3'])
    assert (args.resume, args.data, args.local_rank) == ('x.pth', ['images'], 3)


def test_a_work_dir_belongs_to_one_training(config, load_tool, tmp_path):
    """A second one is refused before it writes anything there."""
    work_dir = tmp_path / 'work_dirs' / 'toy'
    work_dir.mkdir(parents=True)
    with WorkDirLock(work_dir):
        with pytest.raises(ValueError, match='another --work-dir'):
            load_tool('train').main([str(config)])
        assert [path.name for path in work_dir.iterdir()] == ['.lock']
    load_tool('train').main([str(config)])
    assert (work_dir / 'epoch_2.pth').exists()


def test_resume_without_a_checkpoint_is_an_error(config, load_tool, tmp_path):
    with pytest.raises(ValueError, match='no whole checkpoint in work_dirs'):
        load_tool('train').main([str(config), '--resume'])
    load_tool('train').main([str(config), '--resume', 'auto'])
    assert (tmp_path / 'work_dirs' / 'toy' / 'epoch_2.pth').exists()


def test_a_full_disk_is_told_in_a_sentence(config, load_tool, monkeypatch):
    """Wherever in a training it is met."""

    def full(self):
        raise OSError(errno.ENOSPC, 'No space left on device', 'log.json')

    monkeypatch.setattr(Runner, 'train', full)
    with pytest.raises(OSError, match='disk is full .log.json.*--resume'):
        load_tool('train').main([str(config)])
