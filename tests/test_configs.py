"""Every shipped pre-training config builds and takes a step."""

from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from torch import Tensor

import dseq_mm  # noqa: F401
from dseq_mm.models import EncodedImage, TrainingClock
from tests.models.builders import samples

CONFIGS = sorted((Path(__file__).parents[1] / 'configs').glob('*.py'))
PAPER = dict(epochs={'b': 600, 'l': 600, 'h': 300}, batch=2048)
METHODS = dict(dseq='DSeqJEPA', ijepa='IJEPA', dseqc='DSeqCJEPA', cjepa='CJEPA')
VICREG = dict(
    type='VICRegHead',
    weight=0.001,
    sim=25.0,
    std=25.0,
    cov=1.0,
    gamma=1.0,
    eps=1e-4,
    projector=(3072, 3072, 3072),
)


def load(path):
    return Config.fromfile(path)


def test_all_promised_configs_are_there():
    names = {path.stem for path in CONFIGS}
    for method in ('dseq', 'ijepa'):
        for size in (
            'vitb16_600e',
            'vitl16_600e',
            'vith16-448_300e',
            'digitscenes_20e',
        ):
            assert f'{method}_{size}' in names
    for method in ('cjepa', 'dseqc'):
        for size in ('vitb16_600e', 'vitl16_600e', 'digitscenes_20e'):
            assert f'{method}_{size}' in names


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_config_takes_a_step(path):
    cfg = load(path)
    side = cfg.model.backbone.img_size
    # ViT-S takes the same path with values; NEPA has no other size
    if is_large(cfg) and 'nepa' not in path.stem:
        step_without_values(cfg, side)
        return
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.clock = TrainingClock(0, 0, 1.0)
    inputs = [
        torch.randint(0, 256, (3, side, side), dtype=torch.uint8) for _ in range(2)
    ]
    batch = dict(inputs=torch.stack(inputs), data_samples=samples(range(2)))
    data = model.data_preprocessor(batch)
    loss = model.loss(**data)['loss']
    loss.backward()
    assert loss.isfinite() and loss > (-1 if 'nepa' in path.stem else 0)  # a cosine


def is_large(cfg):
    """Whether a step of this network takes long on a CPU."""
    arch = cfg.model.backbone.arch
    if isinstance(arch, str):
        return arch in ('base', 'large', 'huge')
    return arch['embed_dims'] > 1000


def step_without_values(cfg, side):
    """A full-size step on ``meta`` tensors under a real plan: shapes, no arithmetic."""
    step = cfg.model.backbone.patch_size
    grid = (side // step, side // step)
    generator = MODELS.build(cfg.model.mask_generator)
    hidden = torch.randn(2, grid[0] * grid[1] + 1, 8)
    encoded = EncodedImage(hidden[:, 1:], grid, hidden={9: hidden})
    plan = generator(encoded, torch.arange(2), TrainingClock(0, 0, 1.0))
    plan.validate()
    tensors = {
        field.name: getattr(plan, field.name).to('meta')
        for field in fields(plan)
        if isinstance(getattr(plan, field.name), Tensor)
    }
    plan = replace(plan, **tensors)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
        inputs = torch.empty(2, 3, side, side)
    encoded = model.encode_target(inputs)
    context = model.backbone(inputs, plan)
    prediction = model.neck(context, plan)
    target = plan.gather(encoded.patches, plan.target_ids)
    loss = model.head.loss(prediction, target, plan)
    for regularizer in model.regularizers:
        with patch('torch.autocast', no_autocast):
            loss = (
                loss
                + regularizer.loss(context, prediction, target, plan, TrainingClock())[
                    0
                ]
            )
    loss.backward()
    assert all(
        (parameter.grad is not None) == parameter.requires_grad
        for parameter in model.parameters()
    )


def no_autocast(*args, **kwargs):
    """Stands for ``torch.autocast``, which knows no meta device."""
    return nullcontext()


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_recipe_is_the_papers(path):
    if 'digitscenes' in path.stem:
        pytest.skip('ours')
    if 'nepa' in path.stem:
        pytest.skip('its own, see tests/models/test_nepa.py')
    if 'vits16' in path.stem:
        pytest.skip('ours, see below')
    if 'vith14' in path.stem or 'vitg16' in path.stem:
        pytest.skip("I-JEPA's own, see below")
    cfg = load(path)
    size = path.stem.split('_vit')[1][0]
    epochs = PAPER['epochs'][size]
    optim = cfg.optim_wrapper
    accumulated = optim.get('accumulative_counts', 1)
    batch = cfg.train_dataloader.batch_size
    assert 8 * batch * accumulated == PAPER['batch']
    assert cfg.auto_scale_lr.base_batch_size == 8 * batch  # it ignores accumulation
    assert cfg.train_cfg.max_epochs == epochs
    warm_up, cosine, decay = cfg.param_scheduler
    assert optim.optimizer.lr * warm_up.start_factor == pytest.approx(1e-4)
    assert (optim.optimizer.lr, cosine.eta_min) == (1e-3, 1e-6)
    assert warm_up.end * epochs == pytest.approx(15)  # the cosine fills the rest
    for schedule in (cosine, decay):
        assert {'begin', 'end', 'T_max'}.isdisjoint(schedule)
    assert optim.optimizer.weight_decay * decay.eta_min_ratio == pytest.approx(0.4)
    assert optim.optimizer.weight_decay == 0.04
    names = [scheduler.param_name for scheduler in cfg.param_scheduler]
    assert names == ['lr', 'lr', 'weight_decay']
    assert optim.dtype == 'bfloat16'
    model = cfg.model
    assert model.target_encoder == dict(momentum=0.996, end_momentum=1.0)
    assert model.neck.predictor_dims == 384
    assert model.neck.depth == (6 if size == 'b' else 12)
    pixels = 448 if size == 'h' else 224
    assert model.backbone.img_size == pixels
    pipeline = cfg.train_dataloader.dataset.dataset.pipeline
    assert [step.type for step in pipeline] == [
        'LoadImage',
        'AntialiasedResizedCrop',
        'PackInputs',
    ]
    assert pipeline[1].scale == pixels
    assert tuple(pipeline[1].crop_ratio_range) == (0.3, 1.0)
    crop = cfg.custom_hooks[0].query.dataset.pipeline[2]
    assert crop.crop_size == pixels
    if path.stem.startswith('dseq'):
        assert model.mask_generator.saliency.block == 9
        assert model.mask_generator.num_regions == 5
    assert model.type == METHODS[path.stem.split('_')[0]]
    if model.type.endswith('CJEPA'):
        assert model.regularizers == [VICREG]
    if size == 'h':
        assert model.backbone.with_cp


@pytest.mark.parametrize('method', ['dseq', 'ijepa'])
def test_small_recipe_is_the_papers_in_100_epochs(method):
    small, base = (
        load(CONFIGS[0].parent / f'{method}_{name}.py')
        for name in ('vits16_100e', 'vitb16_600e')
    )
    assert small.train_cfg.max_epochs == 100
    warm_up, cosine, decay = small.param_scheduler
    assert warm_up.end * 100 == base.param_scheduler[0].end * 600 == 15
    assert [cosine, decay] == base.param_scheduler[1:]
    assert (small.model.backbone.pop('arch'), small.model.neck.predictor_dims) == (
        'deit-small',
        192,
    )
    base.model.backbone.pop('arch')
    base.model.neck.predictor_dims = 192
    for key in ('model', 'optim_wrapper', 'train_dataloader', 'custom_hooks'):
        assert small[key] == base[key]
    assert small.auto_scale_lr == base.auto_scale_lr


@pytest.mark.parametrize(
    ('name', 'epochs', 'warm_up', 'depth', 'network'),
    [
        ('vith14_300e', 300, 40, 12, (1280, 32, 16, 5120, 14)),
        ('vitg16_44e', 44, 3, 16, (1408, 40, 16, 6144, 16)),
    ],
)
@pytest.mark.parametrize('method', ['ijepa', 'dseq'])
def test_published_networks_have_the_recipe_of_ijepas_code(
    method, name, epochs, warm_up, depth, network
):
    cfg = load(CONFIGS[0].parent / f'{method}_{name}.py')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    vit = model.backbone
    arch = vit.arch_settings
    assert (
        arch['embed_dims'],
        arch['num_layers'],
        arch['num_heads'],
        arch['feedforward_channels'],
        vit.patch_size,
    ) == network
    assert len(model.neck.layers) == depth and model.neck.mask_token.shape[-1] == 384
    optim, rise = cfg.optim_wrapper, cfg.param_scheduler[0]
    assert cfg.train_cfg.max_epochs == epochs
    assert rise.end * epochs == pytest.approx(warm_up)
    assert optim.optimizer.lr == 1e-3
    assert optim.optimizer.lr * rise.start_factor == pytest.approx(2e-4)
    batch = cfg.train_dataloader.batch_size
    assert 8 * batch * optim.accumulative_counts == 2048
    assert cfg.auto_scale_lr.base_batch_size == 8 * batch
