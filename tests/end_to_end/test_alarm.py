"""Four failures, made on purpose, ring within fifty iterations; a healthy run does not.

How healthy runs of full length look is kept in docs/logs and tested there.
"""

import time

import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.runner import Runner
from mmpretrain.registry import MODELS, TRANSFORMS

from dseq_mm.engine import TrainingAlarm
from dseq_mm.models import SaliencyProxy
from tests.end_to_end.runs import digits_config, write_images


@MODELS.register_module(force=True)
class Constant(SaliencyProxy):
    """A saliency that is the same everywhere."""

    needs_class_token = False

    def forward(self, encoded, sample_idx, clock, latent_loss):
        return torch.ones(len(sample_idx), *encoded.grid)


@TRANSFORMS.register_module(force=True)
class Wait(BaseTransform):
    """A slow disk."""

    def transform(self, results):
        time.sleep(0.01)
        return results


FAILURES = dict(
    collapse=(
        'target_std',
        {
            'model.target_encoder.momentum': 0.0,
            'model.target_encoder.end_momentum': 0.0,
            'optim_wrapper.optimizer.lr': 0.05,
        },
    ),
    frozen=(
        'ema_momentum',
        {
            'model.target_encoder.momentum': 1.0,
            'model.target_encoder.end_momentum': 1.0,
        },
    ),
    flat=('flat_maps', {'model.mask_generator.saliency': dict(type='Constant')}),
    waiting=('data_wait', {}),
)


def train(tmp_path, changes, waits=False):
    """Train for fifty iterations; stop at an alarm."""
    images = write_images(tmp_path / 'images', count=64)
    cfg = digits_config(images, tmp_path / 'run', epochs=13, batch=13)
    if waits:
        pipeline = cfg.train_dataloader.dataset.dataset.pipeline
        pipeline.insert(0, dict(type='Wait'))
    cfg.default_hooks.alarm.stop = True
    for name, value in changes.items():
        if name.endswith('saliency'):
            cfg.model.mask_generator.saliency = value
        else:
            cfg.merge_from_dict({name: value})
    runner = Runner.from_cfg(cfg)
    try:
        runner.train()
    finally:
        train.iterations = runner.iter + 1
    return runner


@pytest.mark.parametrize('failure', FAILURES)
def test_a_made_failure_rings_within_fifty_iterations(tmp_path, failure):
    name, changes = FAILURES[failure]
    with pytest.raises(TrainingAlarm, match=f': {name} is '):
        train(tmp_path, changes, waits=failure == 'waiting')
    assert train.iterations == 50


def test_a_healthy_run_is_silent(tmp_path):
    arch = {'embed_dims': 96, 'feedforward_channels': 384, 'num_layers': 6}
    changes = {f'model.backbone.arch.{name}': value for name, value in arch.items()}
    runner = train(tmp_path, changes)  # large enough not to wait for its images
    assert runner.iter == 52
    assert 'train/rank_me' not in runner.message_hub.log_scalars  # before 100
