"""JEPA on hierarchical backbones: what is hidden stays hidden."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmpretrain.models import SwinTransformer
from mmpretrain.registry import MODELS

from dseq_mm.evaluation.features import pooled_blocks
from dseq_mm.models.jepa import TrainingClock
from dseq_mm.plan import PredictionPlan
from dseq_mm.transfer import load_backbone
from projects.any_backbone import MaskedInputBackbone
from projects.any_backbone.count_flops import count_parts
from tests.models.builders import images, samples

CONFIGS = sorted(
    (Path(__file__).parents[2] / 'projects' / 'any_backbone' / 'configs').glob('*.py')
)
SIZE, GRID = (24, 32), (3, 4)  # of each network below: patches of 8 px
NETWORKS = dict(
    swin=dict(
        type='SwinTransformer',
        arch=dict(embed_dims=8, depths=[2, 2], num_heads=[2, 2]),
        img_size=SIZE,
        patch_size=4,
        window_size=2,
        drop_path_rate=0.0,
        out_indices=(1,),
    ),
    convnext=dict(
        type='ConvNeXt',
        arch=dict(depths=[1, 1], channels=[8, 16]),
        out_indices=[1],
        gap_before_final_norm=False,
    ),
    resnet=dict(
        type='ResNet',
        depth=18,
        stem_channels=8,
        base_channels=8,
        num_stages=2,
        strides=(1, 2),
        dilations=(1, 1),
        out_indices=(1,),
        norm_cfg=dict(type='GN', num_groups=4),
    ),
)
GRAD_CAM = dict(
    type='DiscriminativeMaskGenerator', saliency=dict(type='GradCAM'), num_regions=4
)
METHODS = [
    dict(method='IJEPA'),
    dict(method='DSeqJEPA', mask_generator=GRAD_CAM, unrolled=True),
]


def build(network='swin', method='IJEPA', **kwargs):
    """A tiny algorithm; all parameters clearly non-zero."""
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type=method,
            backbone=dict(
                type='MaskedInputBackbone', network=NETWORKS[network], img_size=SIZE
            ),
            neck=dict(type='JEPAPredictor', predictor_dims=8, depth=1, num_heads=2),
            head=dict(type='LatentPredictionHead'),
            **kwargs,
        )
    )
    model.init_weights()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if 'pos_embed' not in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.clock = TrainingClock(0, 3, 1.0)
    return model


def growing_plan(rows=3, steps=3):
    """Random context that grows over the steps; every row has padding or targets."""
    generator = torch.Generator().manual_seed(1)
    patches = GRID[0] * GRID[1]
    step = torch.randint(-1, steps, (rows, patches), generator=generator)
    targets = step[:, None] == torch.arange(1, steps + 1)[:, None]
    targets[:, -1] |= step == -1
    return PredictionPlan.from_masks(step, targets, steps)


def context_pixels(plan, row):
    """Mask of the pixels of a row's context, patch by patch."""
    visible = torch.zeros(SIZE, dtype=torch.bool)
    for patch in plan.context_ids[row].tolist():
        if patch >= 0:
            top, left = patch // GRID[1] * 8, patch % GRID[1] * 8
            visible[top : top + 8, left : left + 8] = True
    return visible


@pytest.mark.parametrize('network', NETWORKS)
def test_context_equals_encoding_each_masked_image_alone(network):
    backbone = build(network).backbone.double()
    plan = growing_plan().unroll()
    plan.validate()
    inputs = images(3, SIZE, dtype=torch.float64)
    features = backbone(inputs, plan)
    rows = len(plan.context_ids)
    assert rows == 9 and (plan.context_ids < 0).any()
    for row in range(rows):
        image = inputs[row // 3] * context_pixels(plan, row)
        alone = backbone.network(image[None])[-1][0]  # (D, H, W)
        for slot, patch in enumerate(plan.context_ids[row].tolist()):
            if patch >= 0:
                expected = alone[:, patch // GRID[1], patch % GRID[1]]
                torch.testing.assert_close(features[row, slot], expected)


@pytest.mark.parametrize('network', NETWORKS)
def test_hidden_pixels_do_not_leak_and_context_pixels_count(network):
    backbone = build(network).backbone
    plan = growing_plan(rows=1).unroll()
    inputs = images(1, SIZE)
    before = backbone(inputs, plan)
    for row in range(len(plan.context_ids)):
        real = plan.context_ids[row] >= 0
        assert real.any() and len(plan.context_ids[row].unique()) < GRID[0] * GRID[1]
        visible = context_pixels(plan, row)
        hidden = inputs.masked_fill(~visible, float('nan'))
        assert torch.equal(backbone(hidden, plan)[row, real], before[row, real])
        changed = torch.where(visible, inputs + 0.5, inputs)
        after = backbone(changed, plan)[row, real]
        assert ((after - before[row, real]).abs().amax(1) > 1e-3).all()


@pytest.mark.parametrize('network', NETWORKS)
def test_image_j_changes_only_its_rows_in_training_mode(network):
    backbone = build(network).backbone.train()
    plan = growing_plan().unroll()
    inputs = images(3, SIZE)
    before = backbone(inputs, plan)
    inputs[1] += 1.0
    after = backbone(inputs, plan)
    changed = (after != before).flatten(1).any(1)  # (R, Lc, D) -> (R,)
    assert changed.tolist() == [False] * 3 + [True] * 3 + [False] * 3


@pytest.mark.parametrize('method', METHODS, ids=['ijepa', 'dseq'])
@pytest.mark.parametrize('network', NETWORKS)
def test_gradient_reaches_every_parameter_and_no_target_parameter(network, method):
    model = build(network, **method).train()
    loss = model.loss(images(4, SIZE), samples(range(4)))['loss']
    assert loss.isfinite()
    loss.backward()
    for name, parameter in model.named_parameters():
        if name.startswith('target_encoder') or 'pos_embed' in name:
            assert parameter.grad is None, name
        else:
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize('exact', [True, False])
def test_ijepa_needs_no_unrolling(exact):
    """All its steps share one context; unrolled they cost more and are the same."""
    generator = dict(type='MultiBlockMaskGenerator', context_sees_targets=exact)
    results = []
    for unrolled in (False, True):
        model = build(mask_generator=generator, unrolled=unrolled).double()
        rows = []
        model.backbone.network.register_forward_hook(
            lambda m, a, out, rows=rows: rows.append(len(a[0]))
        )
        inputs = images(3, SIZE, dtype=torch.float64)
        loss = model.loss(inputs, samples(range(3)))['loss']
        loss.backward()
        results.append((rows, loss, model.backbone.network.norm1.weight.grad))
    once, unrolled = results
    assert (once[0], unrolled[0]) == ([3], [12])
    torch.testing.assert_close(once[1:], unrolled[1:])


def test_growing_context_is_refused():
    backbone = build().backbone
    with pytest.raises(ValueError, match='3 steps.*unrolled=True'):
        backbone(images(3, SIZE), growing_plan())
    model = build(method='DSeqJEPA', mask_generator=GRAD_CAM)
    with pytest.raises(ValueError, match='unrolled=True'):
        model.loss(images(2, SIZE), samples(range(2)))


def test_grad_cam_finds_regions():
    model = build(**METHODS[1])
    losses = model.loss(images(4, SIZE), samples(range(4)))
    assert losses['lambda'] == 1.0 and losses['flat_maps'] == 0.0
    found = ('component', 'split', 'secondary')
    assert sum(losses[f'regions_{kind}'] for kind in found) > 0


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_config_takes_a_step(path):
    cfg = Config.fromfile(path)
    if cfg.model.backbone.network.arch == 'tiny':  # for time: one block per stage
        arch = {**SwinTransformer.arch_zoo['tiny'], 'depths': [1, 1, 1, 1]}
        cfg.model.backbone.network.arch = arch
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.clock = TrainingClock(0, 0, 1.0)
    side = cfg.model.backbone.img_size
    assert cfg.train_pipeline[1].scale == side
    pixels = torch.randint(0, 256, (1, 3, side, side), dtype=torch.uint8)
    data = model.data_preprocessor(dict(inputs=pixels, data_samples=samples([0])))
    loss = model.loss(**data)['loss']
    loss.backward()
    assert loss.isfinite() and loss > 0
    if 'tiny' in path.stem:
        assert model.backbone.patch_resolution == (7, 7)
        assert model.mask_generator.rule.sizes(49) == (8, 9)
        accumulated = cfg.optim_wrapper.accumulative_counts
        assert 8 * cfg.train_dataloader.batch_size * accumulated == 2048


@pytest.mark.parametrize('network', NETWORKS)
def test_target_encoder_is_the_average_in_what_it_computes(network):
    """No buffer that the average leaves behind matters."""
    model = build(network, target_encoder=dict(momentum=0.0)).train()
    inputs = images(2, SIZE)
    target, context = model.encode_target(inputs), model.backbone.encode(inputs)
    assert not torch.allclose(target.patches, context.patches)
    model.target_encoder.progress = 0.0
    model.target_encoder.update_parameters(model.backbone)
    target = model.encode_target(inputs)
    assert target.grid == GRID
    assert torch.equal(target.patches, context.patches)


def test_weights_go_into_knn_and_into_the_bare_network(tmp_path):
    model = build()
    file = tmp_path / 'epoch_1.pth'
    torch.save(dict(state_dict=model.state_dict()), file)
    twin = MaskedInputBackbone(NETWORKS['swin'], SIZE)
    load_backbone(twin, file, 'target')
    inputs = images(2, SIZE)
    features = pooled_blocks(twin, inputs)['last']
    expected = model.encode_target(inputs).patches.mean(1)
    torch.testing.assert_close(features, expected)

    arguments = {k: v for k, v in NETWORKS['swin'].items() if k != 'type'}
    prefix = 'target_encoder.module.network.'
    init_cfg = dict(type='Pretrained', checkpoint=str(file), prefix=prefix)
    bare = SwinTransformer(**arguments, init_cfg=init_cfg)
    bare.init_weights()
    torch.testing.assert_close(bare(inputs)[-1].mean((2, 3)), expected)


def test_networks_that_do_not_fit_are_refused():
    def make(size=SIZE, **changes):
        return MaskedInputBackbone({**NETWORKS['convnext'], **changes}, size)

    with pytest.raises(ValueError, match='BatchNorm2d.*GN'):
        MaskedInputBackbone(dict(NETWORKS['resnet'], norm_cfg=dict(type='BN')), SIZE)
    with pytest.raises(ValueError, match='gap_before_final_norm=False'):
        make(gap_before_final_norm=True)
    with pytest.raises(ValueError, match='map of 3x4.*25x32'):
        make(size=(25, 32))
    # two cells divide 12 px, but they are of 8 px: the network pads
    with pytest.raises(ValueError, match='multiple of the strides'):
        MaskedInputBackbone(dict(NETWORKS['swin'], img_size=(12, 12)), (12, 12))
    with pytest.raises(ValueError, match='24x24 px.*24x32'):
        make()(images(1, (24, 24)), growing_plan(1).unroll())
    with pytest.raises(ValueError, match='GradCAM'):
        make().encode(images(1, SIZE), hidden=(1,))
    with pytest.raises(ValueError, match='class token'):
        build(method='DSeqJEPA', unrolled=True)


def test_counted_costs():
    folder = 'projects/any_backbone/configs'
    target, context, _ = count_parts(f'{folder}/ijepa_swin_digitscenes', False, 2)
    assert context == target  # the image is masked, nothing is dropped
    target, context, _ = count_parts(f'{folder}/dseq_convnext_digitscenes', False, 2)
    assert context == pytest.approx(4 * target)  # a row for each of four steps
    ours = 'configs/dseq_digitscenes_20e'
    target, once, _ = count_parts(ours, False, 2)
    _, unrolled, _ = count_parts(ours, True, 2)
    assert once < target < unrolled
