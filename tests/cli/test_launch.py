"""What the arguments of the tools do to a config."""

import argparse
import sys
import types

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from dseq_mm.cli import launch
from tests.libraries import need

PIPELINE = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]


def make_config(**kwargs):
    inner = dict(type='ImageNet', data_root='imagenet', pipeline=PIPELINE)
    cfg = dict(
        work_dir='work',
        train_dataloader=dict(
            batch_size=2, dataset=dict(type='KeyedDataset', dataset=inner)
        ),
        optim_wrapper=dict(type='GuardedOptimWrapper', optimizer=dict(type='AdamW')),
        custom_hooks=[dict(type='EMAHook'), dict(type='mmpretrain.KNNHook')],
    )
    return Config({**cfg, **kwargs})


def parse(path, *arguments):
    parser = argparse.ArgumentParser()
    launch.add_common_arguments(parser)
    return parser.parse_args([str(path), *arguments])


def test_load_config_applies_common_arguments(tmp_path, monkeypatch):
    monkeypatch.delenv('LOCAL_RANK', raising=False)
    path = tmp_path / 'tiny.py'
    path.write_text(
        'resume = False\ntrain_dataloader = dict(num_workers=2)\n'
        'val_dataloader = dict(num_workers=0, pin_memory=True)\ntest_dataloader = None'
    )
    cfg = launch.load_config(
        parse(path, '--cfg-options', 'resume=True', '--local-rank', '1')
    )
    assert cfg.work_dir == 'work_dirs/tiny' and cfg.resume
    assert launch.os.environ['LOCAL_RANK'] == '1'
    assert cfg.train_dataloader.persistent_workers is True
    assert cfg.val_dataloader.persistent_workers is False
    assert cfg.val_dataloader.pin_memory is True
    assert cfg.train_dataloader.pin_memory is torch.cuda.is_available()
    cfg = launch.load_config(parse(path, '--work-dir', 'elsewhere'))
    assert cfg.work_dir == 'elsewhere'


@pytest.mark.parametrize('scope', ['mmpretrain', 'mmdet', 'mmseg', None])
def test_batches_are_made_as_the_library_makes_them(tmp_path, scope):
    if scope is not None:
        need(scope)
    path = tmp_path / 'tiny.py'
    own = "test_dataloader = dict(collate_fn=dict(type='mine'))\n"
    text = f'default_scope = {scope!r}\ntrain_dataloader = dict()\n{own}'
    path.write_text(text)
    cfg = launch.load_config(parse(path))
    expected = dict(type='default_collate') if scope == 'mmpretrain' else None
    assert cfg.train_dataloader.get('collate_fn') == expected
    assert cfg.test_dataloader.collate_fn == dict(type='mine')


@pytest.mark.parametrize(
    ('text', 'missing'),
    [
        ("a = __import__('mmnowhere').__path__", "No module named 'mmnowhere'"),
        ("default_scope = 'mmseg'", 'mmseg'),
        ("model = dict(neck=[dict(type='mmseg.Feature2Pyramid')])", 'mmseg'),
        ("model = dict(backbone=dict(type='mmdet.ResNet'))", 'mmdet'),
    ],
)
def test_a_missing_library_stops_at_once(tmp_path, monkeypatch, text, missing):
    for library in ('mmseg', 'mmdet'):  # None makes an import fail
        monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setitem(sys.modules, 'mmcv.ops', types.ModuleType('mmcv.ops'))
    path = tmp_path / 'tiny.py'
    path.write_text(text)
    with pytest.raises(ValueError, match='dseq_mm.doctor') as error:
        launch.load_config(parse(path))
    assert f'tiny.py needs a library that cannot be imported ({missing})' in str(
        error.value
    )


def test_amp_is_bfloat16_with_our_wrapper():
    cfg = make_config()
    launch.set_amp(cfg)
    assert cfg.optim_wrapper.type == 'GuardedOptimWrapper'
    assert cfg.optim_wrapper.dtype == 'bfloat16'


def test_amp_with_another_wrapper(monkeypatch):
    cfg = make_config(optim_wrapper=dict(optimizer=dict(type='AdamW')))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    launch.set_amp(cfg)
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.loss_scale == 'dynamic'
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ValueError, match='needs a GPU'):
        launch.set_amp(cfg)


def test_auto_scale_lr():
    cfg = make_config(auto_scale_lr=dict(base_batch_size=2048))
    launch.set_auto_scale_lr(cfg)
    assert cfg.auto_scale_lr.enable is True
    with pytest.raises(ValueError, match='base_batch_size'):
        launch.set_auto_scale_lr(make_config())


def test_no_validate_drops_loop_and_hook():
    cfg = make_config(val_cfg=dict(), val_dataloader=dict(), val_evaluator=dict())
    notes = launch.disable_validation(cfg)
    assert cfg.val_cfg is cfg.val_dataloader is cfg.val_evaluator is None
    assert not launch.has_hook(cfg, 'KNNHook') and len(notes) == 1
    assert launch.disable_validation(cfg) == []


class FewImages(torch.utils.data.Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return index


@pytest.mark.parametrize('by_epoch', [True, False])
def test_batches_larger_than_the_data(by_epoch):
    sampler = 'DefaultSampler' if by_epoch else 'InfiniteSampler'
    loader = dict(dataset=FewImages(), batch_size=4, drop_last=True)
    loader = Runner.build_dataloader({**loader, 'sampler': dict(type=sampler)})
    runner = types.SimpleNamespace(visualizer=types.SimpleNamespace())
    if by_epoch:
        loop = EpochBasedTrainLoop(runner, loader, max_epochs=1)
        with pytest.raises(ValueError, match='3 images do not fill one batch of 4 on'):
            launch._check_epoch(loop)
    else:
        loop = IterBasedTrainLoop(runner, loader, max_iters=5)
        launch._check_epoch(loop)
        assert [len(next(loop.dataloader_iterator)) for _ in range(5)] == [4] * 5


def test_none_turns_off_any_default_hook():
    hooks = dict(timer=None, clock=None, logger=dict(type='LoggerHook'))
    cfg = make_config(default_hooks=hooks)
    launch.turn_off_hooks(cfg)
    assert cfg.default_hooks == dict(timer=None, logger=dict(type='LoggerHook'))
    launch.turn_off_hooks(make_config())


def test_mmengine_has_the_hooks_that_it_turns_off_itself():
    class Fake:
        register_hook = list().append

    Runner.register_default_hooks(Fake(), dict.fromkeys(launch.MMENGINE_HOOKS))


@pytest.mark.parametrize(
    ('meant', 'given', 'warned'),
    [
        (dict(base_batch_size=32), (), True),
        (dict(base_batch_size=32), ('train_dataloader.batch_size',), True),
        (dict(base_batch_size=32), ('optim_wrapper.accumulative_counts',), False),
        (dict(base_batch_size=32), ('optim_wrapper.optimizer.lr',), False),
        (dict(base_batch_size=32, enable=True), (), False),
        (dict(base_batch_size=8), (), False),
        (None, (), False),
    ],
)
def test_warning_of_a_rate_for_another_batch(meant, given, warned):
    said = []
    loader = dict(
        dataset=FewImages(), batch_size=4, sampler=dict(type='DefaultSampler')
    )
    runner = types.SimpleNamespace(
        cfg=Config(dict(auto_scale_lr=meant)),
        world_size=2,
        train_dataloader=Runner.build_dataloader(loader),
        logger=types.SimpleNamespace(warning=said.append),
    )
    launch._check_batch(runner, given)
    assert bool(said) == warned
    if warned:
        assert '32 images at a time, this run has 8: add --auto-scale-lr' in said[0]


@pytest.mark.parametrize('workers', [0, 2])
def test_no_workers_persist_where_there_are_none(workers):
    """Of the config's loaders and of those in hooks, which PyTorch would refuse."""
    worked = dict(num_workers=2, persistent_workers=True, prefetch_factor=4, dataset={})
    cfg = Config(
        dict(
            train_dataloader=dict(worked),
            val_dataloader=None,
            custom_hooks=[dict(type='KNNHook', bank=dict(worked), query=dict(worked))],
        )
    )
    places = ['train_dataloader', 'custom_hooks.0.bank', 'custom_hooks.0.query']
    launch.change_config(cfg, {f'{place}.num_workers': workers for place in places})
    hook = cfg.custom_hooks[0]
    for loader in (cfg.train_dataloader, hook.bank, hook.query):
        assert loader.num_workers == workers
        assert ('persistent_workers' in loader) == ('prefetch_factor' in loader)
        assert ('persistent_workers' in loader) == (workers > 0)


def test_an_option_that_may_be_read_is_said(tmp_path, capsys):
    path = tmp_path / 'tiny.py'
    path.write_text('model = dict(test_cfg=dict(rcnn=dict(score_thr=0.1)))\n')
    cfg = launch.load_config(parse(path, '--cfg-options', 'model.test_cfg.mode=whole'))
    assert cfg.model.test_cfg.mode == 'whole'
    assert 'Warning: Whether anything reads' in capsys.readouterr().err
    with pytest.raises(ValueError, match="did you mean 'score_thr'"):
        launch.load_config(
            parse(path, '--cfg-options', 'model.test_cfg.rcnn.score_tr=0.5')
        )
