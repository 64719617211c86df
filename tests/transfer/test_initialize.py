"""A backbone is loaded whole or not at all, and keeps what was loaded."""

import copy

import pytest
import torch
from mmengine.model import BaseModel
from mmpretrain.models import VisionTransformer
from mmpretrain.models.utils import resize_pos_embed
from mmpretrain.registry import MODELS
from torch import nn

from dseq_mm.transfer.export import export_backbone
from dseq_mm.transfer.initialize import StrictPretrained, load_backbone
from tests.transfer.conftest import ODD, WRONG, odd_contents


def same_weights(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    return all(torch.equal(ours[key], theirs[key]) for key in ours)


def model_of(backbone):
    model = BaseModel.__new__(type('Model', (BaseModel,), dict(forward=None)))
    BaseModel.__init__(model)
    model.backbone = backbone
    return model


@pytest.mark.parametrize('prefix', ['', 'backbone.', 'module.', 'module.backbone.'])
def test_finds_the_backbone(build_vit, prefix):
    source, module = build_vit(seed=1), build_vit(seed=2)
    state = {prefix + key: value for key, value in source.state_dict().items()}
    if prefix.endswith('backbone.'):
        state[prefix.replace('backbone', 'head') + 'weight'] = torch.zeros(3)
    report = load_backbone(module, dict(state_dict=state))
    assert same_weights(module, source)
    assert set(report.matched) == set(module.state_dict())
    assert not (report.missing or report.mismatched or report.resized)
    assert load_backbone(build_vit(), state).matched == report.matched


@pytest.mark.parametrize('encoder', ['target', 'context'])
def test_chooses_the_encoder(build_vit, pretraining, encoder):
    path, context, target = pretraining()
    module = build_vit()
    report = load_backbone(module, path, encoder=encoder)
    assert same_weights(module, dict(target=target, context=context)[encoder])
    assert report.encoder == encoder
    assert not same_weights(context, target)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(missing='layers.2.ln1.weight'), r'missing 1: layers\.2\.ln1\.weight'),
        (dict(reshaped='layers.0.ln2.bias'), r'\(31,\) in the file, \(32,\) in the'),
        (dict(added='layers.4.ln1.weight'), r'unexpected 1: layers\.4\.ln1\.weight'),
    ],
)
def test_fails_unchanged(build_vit, change, message):
    state = build_vit(seed=1).state_dict()
    if 'missing' in change:
        del state[change['missing']]
    if 'reshaped' in change:
        state[change['reshaped']] = torch.zeros(31)
    if 'added' in change:
        state[change['added']] = torch.zeros(32)
    module = build_vit(seed=2)
    before = copy.deepcopy(module)
    with pytest.raises(ValueError, match=message):
        load_backbone(module, state)
    assert same_weights(module, before)


@pytest.mark.parametrize('kind', [torch.int8, torch.int64, torch.bool, torch.complex64])
@pytest.mark.parametrize('key', ['pos_embed', 'layers.1.ffn.layers.1.weight'])
def test_weights_of_another_type_are_refused(build_vit, key, kind):
    module, state = build_vit(seed=2), build_vit(seed=1).state_dict()
    state[key] = state[key].to(kind)
    before = copy.deepcopy(module)
    for grid in (None, (2, 8)):
        with pytest.raises(ValueError, match=f'has "{key}" as {kind}'):
            load_backbone(module, state, grid=grid)
    assert same_weights(module, before)


def test_counters_of_a_backbone_stay_integers():
    source, module = (nn.Sequential(nn.BatchNorm1d(3)) for _ in 'ab')
    source(torch.randn(4, 3))
    load_backbone(module, source.state_dict())
    assert module[0].num_batches_tracked.item() == 1
    assert same_weights(module, source)


@pytest.mark.parametrize('kind', [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_every_floating_type_are_loaded(build_vit, kind):
    source, module = build_vit(seed=1), build_vit(seed=2)
    load_backbone(module, {k: v.to(kind) for k, v in source.state_dict().items()})
    assert (module.cls_token - source.cls_token).abs().max() < 0.01


def test_other_networks_are_named(build_vit):
    module = build_vit()
    with pytest.raises(ValueError, match='another kind of network'):
        load_backbone(module, {'conv1.weight': torch.zeros(2)})
    with pytest.raises(ValueError, match='no weights'):
        load_backbone(module, dict(state_dict=dict(epoch=3)))
    wide = dict(embed_dims=64, num_layers=4, num_heads=2, feedforward_channels=64)
    other = VisionTransformer(wide, img_size=32, patch_size=8)
    with pytest.raises(ValueError, match=r'pos_embed \(1, 17, 64\) in the file'):
        load_backbone(module, other.state_dict())
    with pytest.raises(ValueError, match='"target" or "context"'):
        load_backbone(module, other.state_dict(), encoder='teacher')


def test_parts_that_may_differ(build_vit):
    source = build_vit(seed=1)
    dense = VisionTransformer(
        source.arch_settings,
        img_size=32,
        patch_size=8,
        out_type='featmap',
        final_norm=False,
        with_cls_token=False,
    )
    report = load_backbone(dense, source.state_dict())
    assert set(report.unexpected) == {'cls_token', 'ln1.weight', 'ln1.bias'}
    assert torch.equal(dense.pos_embed, source.pos_embed[:, 1:])

    pooled = VisionTransformer(
        source.arch_settings, img_size=32, patch_size=8, out_type='avg_featmap'
    )
    with pytest.raises(ValueError, match='allow_missing'):
        load_backbone(pooled, source.state_dict())
    report = load_backbone(pooled, source.state_dict(), allow_missing=['ln2'])
    assert set(report.missing) == {'ln2.weight', 'ln2.bias'}
    with pytest.raises(ValueError, match='missing'):  # a class token is no detail
        load_backbone(build_vit(), dense.state_dict())


def test_position_embedding_of_another_grid(build_vit, pretraining):
    # a 4 x 6 grid, known from the config in the checkpoint, onto 2 x 3
    path, _, target = pretraining(img_size=(32, 48))
    module = build_vit(img_size=(16, 24))
    report = load_backbone(module, path)
    expected = resize_pos_embed(target.pos_embed, (4, 6), (2, 3))
    assert torch.equal(module.pos_embed, expected)
    assert report.resized == ('pos_embed',) and 'pos_embed' in report.matched
    # the same number of patches on another grid is resized too
    module = build_vit(img_size=(24, 64))
    assert load_backbone(module, path).resized == ('pos_embed',)
    # without a config it has to be told
    module = build_vit(img_size=(16, 24))
    with pytest.raises(ValueError, match='grid='):
        load_backbone(module, target.state_dict())
    load_backbone(module, target.state_dict(), grid=(4, 6))
    assert torch.equal(module.pos_embed, expected)
    # a square one tells its grid by its length, and the report that it was resized
    source = build_vit(seed=1, img_size=(32, 32))
    report = load_backbone(build_vit(img_size=(16, 24)), source.state_dict())
    assert report.resized == ('pos_embed',) and 'resized 1: pos_embed' in str(report)
    # a non-square embedding of the module's own length is taken as it is
    module = build_vit(img_size=(16, 64))
    source = build_vit(seed=1, img_size=(16, 64))
    assert load_backbone(module, source.state_dict()).resized == ()
    assert same_weights(module, source)


@pytest.mark.parametrize('in_list', [False, True])
@pytest.mark.parametrize('inside', [False, True])
def test_initializer_survives_init_weights(pretraining, inside, in_list):
    path, context, target = pretraining()
    init_cfg = dict(type='StrictPretrained', checkpoint=str(path))
    if in_list:
        init_cfg = [dict(type='Constant', layer='Linear', val=7.0), init_cfg]
    backbone = MODELS.build(
        dict(
            type='mmpretrain.VisionTransformer',
            arch=context.arch_settings,
            img_size=32,
            patch_size=8,
            init_cfg=init_cfg,
        )
    )
    (model_of(backbone) if inside else backbone).init_weights()
    assert same_weights(backbone, target)
    backbone.init_weights()  # a second call, as some runners make it
    assert same_weights(backbone, target)


def test_initializer_fails_loudly(pretraining, build_vit):
    path, *_ = pretraining()
    settings = dict(type='StrictPretrained', checkpoint=str(path))
    module = build_vit(
        init_cfg=[settings, dict(type='Constant', layer='Linear', val=7.0)]
    )
    with pytest.raises(ValueError, match='last'):
        module.init_weights()
    module = build_vit(layer_scale_init_value=0.1, init_cfg=settings)
    with pytest.raises(ValueError, match='missing 8: '):
        module.init_weights()
    module = build_vit()
    StrictPretrained(str(path), encoder='context')(module)


@pytest.mark.parametrize('kind', WRONG)
@pytest.mark.parametrize('entry', ['initializer', 'backbone', 'model'])
def test_wrong_checkpoints_are_refused(wrong_checkpoint, build_vit, kind, entry):
    path, message, marker = wrong_checkpoint(kind)
    module = build_vit(seed=2, init_cfg=dict(type='StrictPretrained', checkpoint=path))
    before = copy.deepcopy(module)
    with pytest.raises(ValueError, match=f'(?s){message}'):
        if entry == 'initializer':
            StrictPretrained(path)(module)
        else:
            (module if entry == 'backbone' else model_of(module)).init_weights()
    assert same_weights(module, before)
    assert not marker.exists()


@pytest.mark.parametrize('kind', ODD)
def test_odd_checkpoints(build_vit, tmp_path, kind):
    source, module = build_vit(seed=1), build_vit(seed=2)
    before, path = copy.deepcopy(module), tmp_path / 'odd.pth'
    torch.save(odd_contents(kind, source.state_dict()), path)
    if ODD[kind]:
        load_backbone(module, path)
        assert same_weights(module, source)
        return
    with pytest.raises(ValueError, match=r'no weights|not finite|does not fit'):
        load_backbone(module, path)
    assert same_weights(module, before)


@pytest.mark.parametrize('kind', ['mmengine.StrictPretrained', StrictPretrained])
@pytest.mark.parametrize('in_list', [False, True])
def test_the_initializer_under_a_scope(pretraining, build_vit, kind, in_list):
    path, _, target = pretraining()
    init_cfg = dict(type=kind, checkpoint=str(path))
    if in_list:
        init_cfg = [dict(type='Constant', layer='Linear', val=7.0), init_cfg]
    backbone = build_vit(init_cfg=init_cfg)
    backbone.init_weights()
    assert same_weights(backbone, target)


def test_the_encoder_of_a_whole_model_is_named(build_vit, monkeypatch):
    said = []
    monkeypatch.setattr(
        'dseq_mm.transfer.initialize.print_log', lambda text, logger: said.append(text)
    )
    state = {f'backbone.{k}': v for k, v in build_vit(seed=1).state_dict().items()}
    load_backbone(build_vit(), state)
    assert said == []
    load_backbone(build_vit(), {**state, 'head.fc.weight': torch.zeros(2)})
    assert len(said) == 1 and 'whole model with head (head.fc.weight)' in said[0]


def test_no_checkpoint_says_how_to_give_one():
    with pytest.raises(ValueError) as error:
        StrictPretrained()
    for way in (
        '--checkpoint PATH',
        '--cfg-options model.backbone.init_cfg.checkpoint=PATH',
        'model.backbone.init_cfg=None',
        '--from-scratch',
    ):
        assert way in str(error.value)


def test_a_detectors_backbone_can_be_exported_on_purpose(
    wrong_checkpoint, build_vit, tmp_path
):
    path, message, _ = wrong_checkpoint('detector')
    with pytest.raises(ValueError, match=message):  # though its backbone would fit
        load_backbone(build_vit(), path, encoder='context')
    out = tmp_path / 'exported.pth'
    export_backbone(path, out, encoder='context')
    module = build_vit()
    report = load_backbone(module, out)
    assert report.encoder == 'plain' and same_weights(module, build_vit(seed=3))


def test_classifiers_and_other_pretraining_stay_welcome(build_vit, pretraining):
    source = build_vit(seed=1)
    state = {f'backbone.{key}': value for key, value in source.state_dict().items()}
    for others in (['head.fc.weight'], ['neck.mask_token', 'head.weight']):
        module = build_vit()
        load_backbone(module, {**state, **{key: torch.zeros(2) for key in others}})
        assert same_weights(module, source)
    # a pre-training checkpoint is one, whatever its further parts are called
    path, _, target = pretraining()
    checkpoint = torch.load(path, weights_only=True)
    checkpoint['state_dict']['latent_head.weight'] = torch.zeros(2)
    module = build_vit()
    load_backbone(module, checkpoint)
    assert same_weights(module, target)
