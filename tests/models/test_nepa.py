"""NEPA under a plan, against a causal transformer written out from its equations."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from torch.testing import assert_close

from dseq_mm.models import (
    EncodedImage,
    LatentPredictionHead,
    NextPatchPredictor,
    RasterMaskGenerator,
    TrainingClock,
)
from dseq_mm.plan import PredictionPlan, TokenCounts
from tests.models.builders import ARCH, images, jepa_config, samples
from tests.models.test_synchronisation import waits_of_step
from tests.oracles.plans import random_plan

CONFIG = Path(__file__).parents[2] / 'configs' / 'nepa_vitb14_1600e.py'
CLOCK = TrainingClock(1, 3, 0.5)
exact = dict(rtol=0, atol=1e-10)


def build(neck='NextPatchPredictor', depth=2, **kwargs):
    torch.manual_seed(0)
    config = jepa_config('NEPA', **kwargs)
    config['backbone']['arch'] = dict(ARCH, num_layers=depth)
    config['backbone']['layer_scale_init_value'] = 0.5
    config['head']['distance'] = 'cosine'
    if neck == 'NextPatchPredictor':
        config['neck'] = dict(type=neck)
    model = MODELS.build(config).double()
    model.init_weights()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if 'pos_embed' not in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.clock = CLOCK
    return model


def raster(grid, count):
    encoded = EncodedImage(torch.empty(count, grid[0] * grid[1], 1), grid)
    return RasterMaskGenerator()(encoded, torch.arange(count), CLOCK)


def predictions(model, inputs):
    """One pass, and each step re-encoded on its own: ``(B, P - 1, D)`` both."""
    index = torch.arange(len(inputs))
    plan = model.mask_generator(model.encode_target(inputs), index, CLOCK)
    single = plan.unroll()
    unrolled = model.neck(model.backbone(inputs, single), single)
    return model.neck(model.backbone(inputs, plan), plan), plan.roll(unrolled)


def causal_loss(model, inputs):
    """The objective, image by image and patch by patch."""
    vit, size, losses = model.backbone, model.backbone.patch_size, []
    for image in inputs:
        embedded = torch.stack(
            [
                vit.patch_embed.projection(
                    image[:, top : top + size, left : left + size]
                ).flatten()
                for top in range(0, image.shape[1], size)
                for left in range(0, image.shape[2], size)
            ]
        )  # (P, D)
        states = embedded + vit.pos_embed[0]
        for layer in vit.layers:
            heads = layer.attn.qkv(layer.ln1(states)).chunk(3 * ARCH['num_heads'], -1)
            mixed = []
            for head in range(ARCH['num_heads']):
                query, key, value = heads[head :: ARCH['num_heads']]
                scores = query @ key.T / query.shape[-1] ** 0.5
                later = torch.ones_like(scores).triu(1).bool()
                mixed.append(scores.masked_fill(later, -torch.inf).softmax(-1) @ value)
            attended = layer.attn.proj(torch.cat(mixed, -1))
            states = states + layer.attn.gamma1(attended)
            states = layer.ffn(layer.ln2(states), identity=states)
        output = vit.ln1(states)
        for patch in range(len(embedded) - 1):
            one, other = output[patch], embedded[patch + 1].detach()
            losses.append(-(one @ other) / (one.norm() * other.norm()))
    return sum(losses) / len(losses)


@pytest.mark.parametrize(('grid', 'count'), [((1, 2), 1), ((3, 4), 2), ((5, 2), 3)])
def test_the_plan_is_what_masks_would_give(grid, count):
    plan = raster(grid, count)
    plan.validate()
    num = grid[0] * grid[1]
    context_step = torch.arange(num).expand(count, -1).clone()
    context_step[:, -1] = -1
    targets = torch.eye(num, dtype=torch.bool)[1:].expand(count, -1, -1)
    expected = PredictionPlan.from_masks(context_step, targets, num - 1)
    for name, value in asdict(expected).items():
        found = asdict(plan)[name]
        same = torch.equal(found, value) if torch.is_tensor(value) else found == value
        assert same, name


def test_loss_and_gradients_are_those_of_the_equations():
    model, inputs = build(), images(3, dtype=torch.float64)
    parameters = [p for p in model.parameters() if p.requires_grad]
    loss = model.loss(inputs, samples(range(3)))['loss']
    expected = causal_loss(model, inputs)
    assert_close(loss, expected, rtol=0, atol=1e-7)  # weights are float32
    assert -1 <= loss <= 1
    pairs = zip(
        torch.autograd.grad(loss, parameters),
        torch.autograd.grad(expected, parameters),
        strict=True,
    )
    for one, other in pairs:
        assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_gradient_reaches_the_whole_backbone_and_neither_targets_nor_average():
    model, inputs = build(), images(2, dtype=torch.float64)
    encoded = model.encode_target(inputs)
    plan = model.mask_generator(encoded, torch.arange(2), CLOCK)
    target = model.targets(encoded, plan)
    assert not target.requires_grad
    kernel = model.backbone.patch_embed.projection
    assert_close(target[1, 4], kernel(inputs[1, :, 4:8, 4:8]).flatten())  # patch 5
    model.loss(inputs, samples(range(2)))['loss'].backward()
    for name, parameter in model.named_parameters():
        if name.startswith('target_encoder') or 'pos_embed' in name:
            assert parameter.grad is None, name
        else:
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize('neck', ['NextPatchPredictor', 'JEPAPredictor'])
def test_a_prediction_reads_all_patches_before_its_target_and_no_other(neck):
    model = build(neck)
    inputs = images(2, dtype=torch.float64).requires_grad_()
    prediction, _ = predictions(model, inputs)
    weight = torch.randn(16, dtype=torch.float64)
    for target in range(1, 12):
        score = (prediction[1, target - 1] * weight).sum()
        (gradient,) = torch.autograd.grad(score, inputs, retain_graph=True)
        assert (gradient[0] == 0).all()  # the other image
        # (3, 12, 16) -> (3, 3, 4, 4, 4) -> (3, 4)
        patches = gradient[1].unflatten(2, (4, 4)).unflatten(1, (3, 4))
        read = patches.abs().sum((0, 2, 4))
        assert (read.flatten() > 0).tolist() == [p < target for p in range(12)]


def test_another_image_changes_nothing():
    model, inputs = build(), images(4, dtype=torch.float64)
    before, _ = predictions(model, inputs)
    inputs[2] += torch.randn(3, 12, 16)
    after, _ = predictions(model, inputs)
    assert_close(after[[0, 1, 3]], before[[0, 1, 3]], **exact)
    assert not torch.isclose(after[2], before[2], atol=1e-3).all(-1).any()


@pytest.mark.parametrize('neck', ['NextPatchPredictor', 'JEPAPredictor'])
def test_unrolled_and_one_pass_agree_on_the_first_target_only(neck):
    model, inputs = build(neck), images(2, dtype=torch.float64)
    one_pass, unrolled = predictions(model, inputs)
    assert_close(one_pass[:, 0], unrolled[:, 0], **exact)
    assert not torch.isclose(one_pass[:, 1:], unrolled[:, 1:], atol=1e-6).all(-1).any()


def test_unrolled_and_one_pass_agree_in_an_encoder_of_one_layer():
    """The last token of a prefix sees all of it either way, and no layer is above."""
    one_pass, unrolled = predictions(build(depth=1), images(2, dtype=torch.float64))
    assert_close(one_pass, unrolled, **exact)


def test_losses_of_the_unrolled_and_of_another_predictor_are_finite():
    inputs, data_samples = images(2, dtype=torch.float64), samples(range(2))
    for model in (build(unrolled=True), build('JEPAPredictor')):
        loss = model.loss(inputs, data_samples)['loss']
        loss.backward()
        assert -1 <= loss <= 1


def test_neck_takes_the_newest_token_that_a_target_sees():
    """Whatever the order of slots, with padding, and with a step without target."""
    plan = PredictionPlan(
        context_ids=torch.tensor([[4, 2, 0, 3], [1, 5, -1, 0]]),
        context_step=torch.tensor([[1, 0, 0, 2], [0, 2, -1, 0]]),
        target_ids=torch.tensor([[1, 5, -1], [2, 3, 4]]),
        target_step=torch.tensor([[1, 3, -1], [1, 2, 3]]),
        num_patches=6,
        num_steps=3,
        num_context_steps=3,
        group_length=1,
        tokens=TokenCounts(context=7, target=5, unrolled_context=16, groups=5),
    )
    plan.validate()
    context = torch.randn(2, 4, 5)
    found = NextPatchPredictor()(context, plan)
    assert torch.equal(found[0, :2], context[0, [2, 3]])
    assert torch.equal(found[1], context[1, [3, 3, 1]])


@pytest.mark.parametrize('method', ['DSeqJEPA', 'IJEPA'])
def test_neck_refuses_plans_with_several_targets_a_step(method):
    config = jepa_config(method)
    config['neck'] = dict(type='NextPatchPredictor')
    with pytest.raises(ValueError, match='targets.*RasterMaskGenerator'):
        model = MODELS.build(config)
        model.clock = CLOCK
        model.loss(images(2), samples(range(2)))


def test_class_token_and_single_patch_are_refused():
    with pytest.raises(ValueError, match='with_cls_token=False'):
        build(cls_token=True)
    with pytest.raises(ValueError, match='one patch'):
        raster((1, 1), 2)


def test_cosine_is_minus_one_at_its_least_and_leaves_padding_alone():
    plan = random_plan(2, 9, 3, torch.Generator().manual_seed(0))
    assert (plan.target_ids < 0).any()
    head = LatentPredictionHead(distance='cosine')
    target = torch.randn(*plan.target_ids.shape, 4)
    padding = plan.target_ids[..., None] < 0
    nothing = (3 * target).masked_fill(padding, torch.nan)
    assert_close(head.loss(nothing, target, plan), torch.tensor(-1.0))
    prediction = nothing.nan_to_num().requires_grad_()  # zeros, as the encoder pads
    loss = head.loss(prediction, target, plan)
    assert_close(loss, torch.tensor(-1.0))
    loss.backward()
    assert prediction.grad.isfinite().all()
    assert (prediction.grad[plan.target_ids < 0] == 0).all()
    with torch.autocast('cpu', torch.bfloat16):
        assert head.loss(prediction.bfloat16(), target, plan).dtype == torch.float32
    with pytest.raises(ValueError, match='smooth_l1'):
        LatentPredictionHead(distance='l2')


def test_a_step_never_waits_for_the_device():
    """Not even for lengths: those of the raster order are known."""
    assert waits_of_step(build().float()) == []


def test_the_large_config_is_the_published_recipe():
    cfg = Config.fromfile(CONFIG)
    optim, model = cfg.optim_wrapper, cfg.model
    optimizer = optim.optimizer
    updates = 8 * cfg.train_dataloader.batch_size * optim.accumulative_counts
    assert updates == 4096
    assert cfg.auto_scale_lr.base_batch_size == 8 * cfg.train_dataloader.batch_size
    assert (optimizer.lr, optimizer.weight_decay) == (3e-4 * 4096 / 256, 0.05)
    assert (tuple(optimizer.betas), optim.clip_grad.max_norm) == ((0.9, 0.95), 1.0)
    warm_up, cosine = cfg.param_scheduler
    assert warm_up.end * cfg.train_cfg.max_epochs == 40  # the cosine fills the rest
    assert {'begin', 'end', 'T_max'}.isdisjoint(cosine) and cosine.eta_min == 0
    assert cfg.train_cfg.max_epochs == 1600
    assert model.target_encoder == dict(momentum=0.9999, end_momentum=0.9999)
    assert model.data_preprocessor.mean == model.data_preprocessor.std == [127.5] * 3
    assert (model.backbone.patch_size, model.backbone.img_size) == (14, 224)
    assert model.backbone.layer_scale_init_value == 1e-5
    assert (model.neck, model.head.distance) == (
        dict(type='NextPatchPredictor'),
        'cosine',
    )
    steps = cfg.train_dataloader.dataset.dataset.pipeline
    assert [step.type for step in steps] == [
        'LoadImage',
        'AntialiasedResizedCrop',
        'RandomFlip',
        'PackInputs',
    ]
    assert tuple(steps[1].crop_ratio_range) == (0.08, 1.0)


def test_a_generator_that_reads_a_saliency_is_refused():
    saliency = dict(type='ClassTokenSimilarity', block=1)
    generator = dict(type='DiscriminativeMaskGenerator', saliency=saliency)
    model = build(cls_token=True, mask_generator=generator)
    with pytest.raises(ValueError, match='RasterMaskGenerator'):
        model.loss(images(2, dtype=torch.float64), samples(range(2)))
