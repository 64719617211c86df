"""Files in the layouts of other projects, against timm's forward pass."""

import re

import pytest
import timm
import torch

from dseq_mm.transfer.contents import split_encoders, state_dict_of
from dseq_mm.transfer.export import to_timm
from dseq_mm.transfer.initialize import load_backbone
from dseq_mm.transfer.layouts import read_layout, to_ijepa
from tests.models.builders import build_jepa, images, samples
from tests.transfer.conftest import ARCH, build_vit
from tests.transfer.test_warm_start import trained


def timm_vit(seed, **options):
    """A ViT of timm of the tests' size, all of its parameters far from zero."""
    torch.manual_seed(seed)
    settings = dict(img_size=32, patch_size=8, embed_dim=ARCH['embed_dims'])
    settings.update(depth=ARCH['num_layers'], num_heads=ARCH['num_heads'])
    ratio = ARCH['feedforward_channels'] / ARCH['embed_dims']
    settings.update(mlp_ratio=ratio, num_classes=0, **options)
    model = timm.models.VisionTransformer(**settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def tokens_of(backbone, pixels):
    """Patch tokens after the final norm."""
    backbone.train(False)
    backbone.out_type = 'raw'
    return backbone(pixels)[-1][:, backbone.num_extra_tokens :]


def contents(layout, model):
    state = model.state_dict()
    if layout == 'mae':
        beside = dict(mask_token=torch.zeros(1, 1, 16), decoder_pos_embed=torch.ones(1))
        return dict(model={**state, **beside, 'decoder_embed.weight': torch.ones(2, 2)})
    if layout == 'timm':
        return {**state, 'head.weight': torch.ones(2, 2)}
    if layout == 'state_dict':
        return dict(state_dict=state)
    if layout == 'dino':
        teacher = {f'backbone.{key}': value for key, value in state.items()}
        teacher |= {'head.mlp.0.weight': torch.ones(2), 'dino_head.x': torch.ones(2)}
        student = {f'module.{key}': value + 1 for key, value in teacher.items()}
        student['module.backbone.masked_embed'] = torch.zeros(1, 16)  # iBOT's
        return dict(student=student, teacher=teacher, epoch=100, optimizer={})
    inner = {f'module.{key}': value for key, value in state.items()}
    other = {key: value + 1 for key, value in inner.items()}
    rest = dict(predictor={'module.mask_token': torch.ones(3)}, opt={}, epoch=300)
    return dict(encoder=other, target_encoder=inner, **rest)


@pytest.mark.parametrize('class_token', [True, False])
@pytest.mark.parametrize('layout', ['mae', 'timm', 'state_dict', 'ijepa', 'dino'])
def test_the_encoder_has_the_features_of_the_file(layout, class_token):
    options = {} if class_token else dict(class_token=False, global_pool='avg')
    model = timm_vit(0, **options, **({} if class_token else dict(fc_norm=False)))
    backbone = build_vit(seed=5, with_cls_token=class_token)
    report = load_backbone(backbone, contents(layout, model))
    assert not (report.missing or report.mismatched or report.resized)
    pixels = images(2, size=(32, 32))
    with torch.no_grad():
        expected = model.forward_features(pixels)[:, int(class_token) :]
        found = tokens_of(backbone, pixels)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize('layout', ['ijepa', 'dino'])
def test_both_encoders_are_told_apart(layout):
    model = timm_vit(0)
    parts = split_encoders(state_dict_of(contents(layout, model)))
    assert {*parts} == {'context', 'target'}
    bias = model.state_dict()['norm.bias']
    assert torch.equal(parts['target']['ln1.bias'], bias)
    assert torch.equal(parts['context']['ln1.bias'], bias + 1)


def test_a_position_embedding_without_class_token_gets_a_row_of_zeros():
    state = timm_vit(0).state_dict()
    whole = state['pos_embed']  # (1, 17, D)
    state['pos_embed'] = whole[:, 1:]
    found = state_dict_of(dict(target_encoder=state))
    position = found['target_encoder.module.pos_embed']
    assert torch.equal(position[:, 1:], whole[:, 1:]) and (position[:, 0] == 0).all()


def test_dinov2s_chunks_scales_and_mask_token():
    model = timm_vit(0, init_values=1e-5)
    state = {
        re.sub(r'^blocks\.(\d+)', r'blocks.0.\1', key): value
        for key, value in model.state_dict().items()
    }
    state['mask_token'] = torch.zeros(1, 32)
    backbone = build_vit(seed=5, layer_scale_init_value=1e-5)
    load_backbone(backbone, state)
    pixels = images(2, size=(32, 32))
    with torch.no_grad():
        expected = model.forward_features(pixels)[:, 1:]
        found = tokens_of(backbone, pixels)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    for name in ('register_tokens', 'blocks.0.0.mlp.w12.weight'):
        with pytest.raises(
            ValueError, match=name.split('.')[-2] if '.' in name else name
        ):
            load_backbone(backbone, {**state, name: torch.zeros(1, 4, 32)})


@pytest.mark.parametrize('method', ['IJEPA', 'DSeqJEPA'])
def test_the_official_file_starts_the_same_training(tmp_path, method):
    """Both encoders and the predictor; the first step is that from our own file."""
    source = trained(method)
    own = dict(meta={}, state_dict=source.state_dict())
    torch.save(own, tmp_path / 'own.pth')
    official = to_ijepa(own['state_dict'])
    assert official.keys() == {'encoder', 'target_encoder', 'predictor'}
    for part in official.values():
        assert all(key.startswith('module.') for key in part)
    names = {re.sub(r'\.\d+\.', '.0.', key) for key in official['predictor']}
    assert {
        'module.mask_token', 'module.predictor_pos_embed', 'module.predictor_proj.bias',
        'module.predictor_embed.weight', 'module.predictor_norm.bias',
        'module.predictor_blocks.0.attn.qkv.weight',
        'module.predictor_blocks.0.mlp.fc2.bias',
    } <= names  # fmt: skip
    torch.save({**official, 'opt': {}, 'epoch': 300}, tmp_path / 'jepa.pth.tar')
    steps = []
    for name in ('own.pth', 'jepa.pth.tar'):
        path = str(tmp_path / name)
        model = build_jepa(method=method, warm_start=path, spread=False)
        losses = model.loss(images(2), samples([3, 5]))
        losses['loss'].backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
        steps.append((losses['loss'].detach(), gradients))
    (loss, gradients), (again, found) = steps
    assert loss == again and gradients.keys() == found.keys()
    assert all(torch.equal(found[name], value) for name, value in gradients.items())
    whole = read_layout(official).state
    kept = {k: v for k, v in own['state_dict'].items() if not k.endswith('.steps')}
    assert whole.keys() == kept.keys()
    assert all(torch.equal(whole[name], value) for name, value in kept.items())


def test_a_predictor_of_another_kind_is_left_out():
    model = timm_vit(0)
    found = read_layout(contents('ijepa', model)).state  # its predictor is one tensor
    assert not any(name.startswith('neck.blocks') for name in found)
    file = contents('ijepa', model)
    file['predictor']['module.more.weight'] = torch.ones(2)
    assert not any(name.startswith('neck.') for name in read_layout(file).state)


def test_renaming_is_the_inverse_of_the_export():
    state = build_vit(layer_scale_init_value=1e-5).state_dict()
    again = read_layout(to_timm(state)).state
    assert again.keys() == state.keys()
    assert all(torch.equal(again[key], state[key]) for key in state)


def test_our_own_files_are_left_alone():
    assert read_layout(build_vit().state_dict()) is None
    assert read_layout(dict(state_dict={'backbone.cls_token': torch.ones(1)})) is None
    assert read_layout(dict(state_dict=[1], meta=None)) is None


@pytest.mark.parametrize(
    'options', [dict(qk_norm=True), dict(reg_tokens=2), dict(pre_norm=True)]
)
def test_what_the_vit_lacks_is_refused_by_name(options):
    name = dict(qk_norm='q_norm', reg_tokens='reg_token', pre_norm='norm_pre')
    state = timm_vit(0, **options).state_dict()
    with pytest.raises(ValueError, match=name[next(iter(options))]):
        load_backbone(build_vit(), state)
