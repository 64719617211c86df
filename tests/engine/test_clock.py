"""ClockHook: time and seed for all parts, and no training that would go wrong."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import RepeatDataset
from mmengine.runner import Runner
from mmpretrain.registry import DATA_SAMPLERS, DATASETS

from dseq_mm.engine import ClockHook, TargetEncoderHook
from dseq_mm.models import DiscriminativeMaskGenerator, TrainingClock
from tests.end_to_end.runs import digits_config, write_images
from tests.models.builders import build_jepa, images, samples


def keyed(folder, count):
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='RandomResizedCrop', scale=8),
        dict(type='PackInputs'),
    ]
    prefix = str(write_images(folder, count, classes=1))
    data = dict(type='CustomDataset', data_root='', data_prefix=prefix)
    data.update(with_label=False, pipeline=pipeline)
    return dict(type='KeyedDataset', dataset=data)


def runner_of(dataset=None, model=None, hooks=None, seed=11):
    return SimpleNamespace(
        model=build_jepa(method='IJEPA') if model is None else model,
        hooks=[TargetEncoderHook()] if hooks is None else hooks,
        seed=seed,
        epoch=0,
        iter=0,
        max_epochs=1,
        max_iters=1,
        param_schedulers=None,
        train_loop=None,
        train_dataloader=SimpleNamespace(dataset=dataset),
    )


def test_concatenated_data_sets_get_seed_and_epoch(tmp_path):
    parts = [keyed(tmp_path / name, 2) for name in 'ab']
    both = DATASETS.build(dict(type='ConcatDataset', datasets=parts))
    runner, hook = runner_of(both), ClockHook()
    hook.before_train(runner)
    assert [part.seed for part in both.datasets] == [11, 11]
    pixels = []
    for runner.epoch in (0, 1, 0):
        hook.before_train_epoch(runner)
        pixels.append([both[index]['inputs'] for index in range(4)])
    for first, second, again in zip(*pixels, strict=True):
        assert torch.equal(first, again) and not torch.equal(first, second)


def test_repeated_images_are_refused(tmp_path):
    data = keyed(tmp_path, 2)
    for repeated in (RepeatDataset(data, 3), [RepeatDataset(data, 3)]):
        if isinstance(repeated, list):
            repeated = SimpleNamespace(datasets=repeated)
        with pytest.raises(ValueError, match='RepeatDataset.*raise train_cfg.max_epo'):
            ClockHook().before_train(runner_of(repeated))
    runner = runner_of(DATASETS.build(data))
    ClockHook().before_train(runner)
    sampler = dict(type='RepeatAugSampler', dataset=range(2))
    runner.train_dataloader.sampler = DATA_SAMPLERS.build(sampler)
    with pytest.raises(ValueError, match='RepeatAugSampler'):
        ClockHook().before_train(runner)


def test_a_target_encoder_that_nothing_moves_is_refused():
    with pytest.raises(ValueError, match="type='TargetEncoderHook'"):
        ClockHook().before_train(runner_of(hooks=[ClockHook()]))
    ClockHook().before_train(runner_of(model=torch.nn.Linear(2, 2), hooks=[]))


def test_a_step_without_clock_is_refused():
    model = build_jepa(method='IJEPA')
    model.clock = None
    with pytest.raises(ValueError, match="type='ClockHook'"):
        model.loss(images(2), samples(range(2)))


def test_mmpretrains_own_runtime_is_refused(tmp_path):
    """Not a step is taken without our hooks."""
    cfg = digits_config(write_images(tmp_path / 'images'), tmp_path / 'work', 'ijepa')
    (tmp_path / 'runtime.py').write_text(
        "_base_ = 'mmpretrain::_base_/default_runtime.py'"
    )
    cfg.default_hooks = Config.fromfile(tmp_path / 'runtime.py').default_hooks
    runner = Runner.from_cfg(cfg)
    with pytest.raises(ValueError, match='this config lacks our hooks'):
        runner.train()
    assert runner.iter == 0


def test_curriculum_of_batches_logs_its_lambda():
    generator = DiscriminativeMaskGenerator(
        saliency=dict(type='ClassTokenSimilarity', block=1),
        num_regions=4,
        curriculum=dict(unit='batch'),
        seed=0,
    )
    model = build_jepa(method='DSeqJEPA')
    model.mask_generator = generator
    seen = set()
    for iteration in range(20):
        model.clock = TrainingClock(0, iteration, 0.4)
        logged = model.loss(images(2), samples(range(2)))
        assert logged['lambda'] == pytest.approx(0.4)
        seen.add('flat_maps' in logged)
    assert seen == {False, True}  # rejected and accepted batches
