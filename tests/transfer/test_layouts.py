"""Files in the layouts of other projects, against timm's forward pass."""

import pytest
import timm
import torch

from dseq_mm.transfer.contents import split_encoders, state_dict_of
from dseq_mm.transfer.export import to_timm
from dseq_mm.transfer.initialize import load_backbone
from dseq_mm.transfer.layouts import read_layout
from tests.transfer.conftest import ARCH, build_vit


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


def tokens_of(backbone, images):
    """Patch tokens after the final norm."""
    backbone.train(False)
    backbone.out_type = 'raw'
    return backbone(images)[-1][:, backbone.num_extra_tokens :]


def contents(layout, model):
    state = model.state_dict()
    if layout == 'mae':
        beside = dict(mask_token=torch.zeros(1, 1, 16), decoder_pos_embed=torch.ones(1))
        return dict(model={**state, **beside, 'decoder_embed.weight': torch.ones(2, 2)})
    if layout == 'timm':
        return {**state, 'head.weight': torch.ones(2, 2)}
    if layout == 'state_dict':
        return dict(state_dict=state)
    inner = {f'module.{key}': value for key, value in state.items()}
    other = {key: value + 1 for key, value in inner.items()}
    rest = dict(predictor={'module.mask_token': torch.ones(3)}, opt={}, epoch=300)
    return dict(encoder=other, target_encoder=inner, **rest)


@pytest.mark.parametrize('class_token', [True, False])
@pytest.mark.parametrize('layout', ['mae', 'timm', 'state_dict', 'ijepa'])
def test_the_encoder_has_the_features_of_the_file(layout, class_token):
    options = {} if class_token else dict(class_token=False, global_pool='avg')
    model = timm_vit(0, **options, **({} if class_token else dict(fc_norm=False)))
    backbone = build_vit(seed=5, with_cls_token=class_token)
    report = load_backbone(backbone, contents(layout, model))
    assert not (report.missing or report.mismatched or report.resized)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model.forward_features(images)[:, int(class_token) :]
        found = tokens_of(backbone, images)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_both_encoders_are_told_apart():
    model = timm_vit(0)
    parts = split_encoders(state_dict_of(contents('ijepa', model)))
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


def test_renaming_is_the_inverse_of_the_export():
    state = build_vit(layer_scale_init_value=1e-5).state_dict()
    again = read_layout(to_timm(state))
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
