"""DMT-JEPA's configs: the recipe, a step of each, and a resumed run."""

from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from torch import Tensor

from dseq_mm.models import EncodedImage, TrainingClock
from dseq_mm.transfer.checkpoint import load_checkpoint
from tests.end_to_end.runs import digits_config, train, write_images
from tests.end_to_end.test_resume import same
from tests.models.builders import samples

CONFIGS = Path(__file__).parents[2] / 'projects' / 'dmt_jepa' / 'configs'


def load(name):
    return Config.fromfile(CONFIGS / f'dmt_{name}.py')


@pytest.mark.parametrize(
    ('name', 'patch', 'depth', 'gpus', 'epochs', 'millions'),
    [
        ('vitb16_600e', 16, 6, 8, 600, 14.18),
        ('vitl16_600e', 16, 12, 8, 600, 25.19),
        ('vith14_300e', 14, 12, 16, 300, 39.36),
    ],
)
def test_large_config_is_the_released_recipe_and_takes_a_step(
    monkeypatch, name, patch, depth, gpus, epochs, millions
):
    cfg = load(name)
    optimizer = cfg.optim_wrapper.optimizer
    assert 'accumulative_counts' not in cfg.optim_wrapper
    assert cfg.train_dataloader.batch_size * gpus == 2048
    assert cfg.auto_scale_lr.base_batch_size == 2048
    assert cfg.train_cfg.max_epochs == epochs
    warm_up, cosine, decay = cfg.param_scheduler
    assert (optimizer.lr * warm_up.start_factor, optimizer.lr) == (2e-4, 1e-3)
    assert warm_up.end * epochs == pytest.approx(40)  # the cosine fills the rest
    assert cosine.eta_min == 1e-6
    for schedule in (cosine, decay):
        assert {'begin', 'end', 'T_max'}.isdisjoint(schedule)
    assert optimizer.weight_decay == 0.04
    assert optimizer.weight_decay * decay.eta_min_ratio == pytest.approx(0.4)
    assert (tuple(optimizer.betas), cfg.optim_wrapper.dtype) == (
        (0.9, 0.999),
        'bfloat16',
    )
    assert cfg.model.target_encoder == dict(momentum=0.996, end_momentum=1.0)
    assert (cfg.model.neck.predictor_dims, cfg.model.neck.depth) == (384, depth)
    steps = cfg.train_dataloader.dataset.dataset.pipeline
    assert [step.type for step in steps] == [
        'LoadImage',
        'AntialiasedResizedCrop',
        'PackInputs',
    ]
    assert (steps[1].scale, tuple(steps[1].crop_ratio_range)) == (224, (0.3, 1.0))

    model = step_without_values(monkeypatch, cfg, 224 // patch)
    size = sum(p.numel() for p in model.context_head.parameters())
    assert round(size / 1e6, 2) == millions  # as counted on the released code
    # nothing is checkpointed; the names that a user would give are there
    assert cfg.get('activation_checkpointing') is None
    assert model.get_submodule(f'backbone.layers.{model.backbone.num_layers - 1}')


def step_without_values(monkeypatch, cfg, side):
    """A full-size step on ``meta`` tensors under a real plan: shapes, no arithmetic."""
    monkeypatch.setattr(torch, 'autocast', lambda *a, **k: nullcontext())  # no meta
    grid = (side, side)
    generator = MODELS.build(cfg.model.mask_generator)
    encoded = EncodedImage(torch.empty(2, side * side, 1), grid)
    plan = generator(encoded, torch.arange(2), TrainingClock())
    tensors = {
        field.name: getattr(plan, field.name).to('meta')
        for field in fields(plan)
        if isinstance(getattr(plan, field.name), Tensor)
    }
    plan = replace(plan, **tensors)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
        inputs = torch.empty(2, 3, 224, 224)
    encoded = model.encode_target(inputs)
    prediction = model.neck(model.encode_context(inputs, plan), plan)
    target = model.targets(encoded, plan)
    assert target.shape == prediction.shape and encoded.grid == grid
    model.head.loss(prediction, target, plan).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    return model


def test_digits_config_takes_a_step():
    cfg = load('digitscenes_20e')
    plain = Config.fromfile(CONFIGS.parents[2] / 'configs/ijepa_digitscenes_20e.py')
    for part in ('optim_wrapper', 'param_scheduler', 'train_cfg', 'train_dataloader'):
        assert cfg[part] == plain[part]
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.clock = TrainingClock()
    pixels = torch.randint(0, 256, (4, 3, 24, 24), dtype=torch.uint8)
    data = model.data_preprocessor(dict(inputs=pixels, data_samples=samples(range(4))))
    loss = model.loss(**data)['loss']
    loss.backward()
    assert loss.isfinite() and loss > 0
    # a narrow head starts from the deviation of its narrow encoder
    weight = model.context_head.blocks[0].ffn.layers[1].weight
    assert weight.std().item() == pytest.approx(0.053, rel=0.05)


def test_resumed_run_equals_the_uninterrupted_one(tmp_path):
    folder = write_images(tmp_path / 'images', 8)

    def config(name):
        method = '../projects/dmt_jepa/configs/dmt'
        return digits_config(folder, tmp_path / name, method, epochs=2, batch=4)

    runner = train(config('whole'))
    # 2 epochs of 2 iterations moved both averages, by the same schedule
    assert runner.model.target_head.steps == runner.model.target_encoder.steps == 4
    resumed = config('resumed')
    resumed.resume = True
    resumed.load_from = str(tmp_path / 'whole' / 'epoch_1.pth')
    train(resumed)
    ends = [
        load_checkpoint(tmp_path / name / 'epoch_2.pth')
        for name in ('whole', 'resumed')
    ]
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        same(ends[0][part], ends[1][part], part)
