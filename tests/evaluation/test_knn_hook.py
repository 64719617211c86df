"""The hook measures on time and leaves the training as it was."""

import os
import random

import numpy as np
import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from torch import nn

from dseq_mm.evaluation.knn_hook import KNNHook, preserved_randomness


class Toy(BaseModel):
    """Pulls pooled features to a noisy target; its EMA encoder never moves."""

    def __init__(self, backbone, preprocessor, with_target=True):
        super().__init__(data_preprocessor=MODELS.build(preprocessor))
        self.backbone = backbone
        if with_target:
            self.target_encoder = nn.Module()
            self.target_encoder.module = type(backbone)(
                arch=backbone.arch_settings, img_size=16, patch_size=4
            )

    def forward(self, inputs, data_samples=None, mode='loss'):
        features = self.backbone(inputs)[-1]
        return dict(loss=(features - torch.randn_like(features)).pow(2).mean())


def train(work_dir, model, config, hooks, max_epochs=3):
    runner = Runner(
        model=model,
        work_dir=str(work_dir),
        train_dataloader={**config, 'sampler': dict(type='DefaultSampler')},
        train_cfg=dict(by_epoch=True, max_epochs=max_epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05)),
        custom_hooks=hooks,
        default_scope='mmpretrain',
        randomness=dict(seed=0),
        experiment_name=os.urandom(6).hex(),
    )
    runner.train()
    return runner


@pytest.mark.parametrize('encoder', ['target', 'context', None])
def test_schedule_and_no_trace(
    tmp_path, build_vit, loader_config, preprocessor, encoder
):
    hook = dict(
        type='KNNHook',
        bank=loader_config(size=30),
        query=loader_config(seed=1),
        interval=2,
        encoder=encoder,
        k=5,
        bank_fraction=0.5,
    )
    weights, runners = [], []
    for hooks in ([], [hook]):
        torch.manual_seed(0)
        model = Toy(build_vit(), preprocessor)
        model.target_encoder.module.init_weights()
        runners.append(train(tmp_path, model, loader_config(), hooks))
        weights.append(model.state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    # after epoch 2 and after the last, 3
    for name in ('knn_last', 'knn_last4', 'rank_me', 'feature_std'):
        values, _ = runners[1].message_hub.get_scalar(f'val/{name}').data
        assert len(values) == 2
    # `values` of the spread: the target encoder of this model does not train
    assert (values[0] == values[1]) == (encoder == 'target')
    assert 'val/knn_last' not in runners[0].message_hub.log_scalars
    assert runners[1].model.training and runners[1].model.backbone.training
    scalars = next(tmp_path.rglob('scalars.json'), None)
    assert scalars is not None


def test_no_target_encoder_and_no_labels(
    tmp_path, build_vit, loader_config, preprocessor, caplog
):
    model = Toy(build_vit(), preprocessor, with_target=False)
    hook = KNNHook(loader_config(), loader_config(labeled=False), interval=1, k=3)
    assert hook.frozen_backbone(model) is model.backbone
    warnings = []
    runner = train(tmp_path, model, loader_config(), [], max_epochs=1)
    runner.logger.warning = lambda text: warnings.append(text)
    for _ in range(3):
        hook.after_train_epoch(runner)
    assert len(warnings) == 1 and 'no labels' in warnings[0]
    assert 'val/knn_last' not in runner.message_hub.log_scalars


def test_wrong_arguments(loader_config):
    for changes in (dict(encoder='ema'), dict(interval=0)):
        with pytest.raises(ValueError):
            KNNHook(loader_config(), loader_config(), **changes)


def test_randomness_is_preserved():
    def draw():
        return random.random(), np.random.rand(), torch.rand(()).item()

    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    expected = draw()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    with pytest.raises(KeyError), preserved_randomness():
        draw()
        raise KeyError
    assert draw() == expected
