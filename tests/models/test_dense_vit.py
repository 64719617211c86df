"""The dense backbone gives the features of the pre-trained encoder, at any size."""

import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.models import VisionTransformer
from mmpretrain.models.utils import resize_pos_embed
from mmpretrain.registry import MODELS

from dseq_mm.models import ConcatPooling, DenseViT, JEPAViT
from dseq_mm.models.windows import Windows
from tests.libraries import need

ARCH = dict(embed_dims=16, num_layers=4, num_heads=2, feedforward_channels=32)


def build(seed=0, cls=DenseViT, **settings):
    """A small backbone whose parameters are all clearly non-zero."""
    torch.manual_seed(seed)
    default = dict(arch=ARCH, img_size=(16, 24), patch_size=4, out_indices=[1, 3])
    module = cls(**{**default, **settings})
    module.init_weights()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name != 'pos_embed':
                parameter.add_(0.2 * torch.randn_like(parameter))
    return module.double()


def images(height=16, width=24, batch=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(
        batch, 3, height, width, dtype=torch.float64, generator=generator
    )


@pytest.mark.parametrize('window_size', [None, 6, 14])
@pytest.mark.parametrize('cls_token', [True, False])
@pytest.mark.parametrize('reference', [JEPAViT, VisionTransformer])
@pytest.mark.parametrize('layer_scale', [0.0, 0.5])
def test_features_are_those_of_the_encoder(
    reference, layer_scale, cls_token, window_size
):
    options = dict(with_cls_token=cls_token, layer_scale_init_value=layer_scale)
    dense = build(window_size=window_size, **options).eval()
    other = build(cls=reference, seed=5, out_type='featmap', **options)
    other.eval()
    other.load_state_dict(dense.state_dict())
    for found, expected in zip(dense(images()), other(images()), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize('size', [(40, 28), (33, 50), (3, 5), (4, 100)])
def test_any_input_size(size):
    dense = build(window_size=3, global_blocks=[1]).eval()
    maps = dense(images(*size))
    grid = tuple(-(-side // 4) for side in size)
    assert [m.shape for m in maps] == [(2, 16, *grid)] * 2
    # by hand: padding, resized positions, blocks 0, 2 and 3 in windows
    padded = torch.zeros(2, 3, grid[0] * 4, grid[1] * 4, dtype=torch.float64)
    padded[:, :, : size[0], : size[1]] = images(*size)
    weight = dense.patch_embed.projection
    tokens = torch.nn.functional.conv2d(padded, weight.weight, weight.bias, stride=4)
    tokens = torch.cat(
        [dense.cls_token.expand(2, -1, -1), tokens.flatten(2).transpose(1, 2)], dim=1
    )
    tokens = tokens + resize_pos_embed(dense.pos_embed, (4, 6), grid, 'bicubic', 1)
    for block, layer in enumerate(dense.layers):
        windows = None if block == 1 else Windows(grid, 3, 1)
        tokens = layer(tokens, windows)
        if block == 1:
            torch.testing.assert_close(maps[0].flatten(2).mT, tokens[:, 1:])
    torch.testing.assert_close(maps[1].flatten(2).mT, dense.ln1(tokens)[:, 1:])


def test_blocks_outside_the_chosen_ones_are_windowed():
    dense = build(window_size=2).eval()
    windows = [dense._windows(block, (4, 6)) for block in range(4)]
    assert [w is None for w in windows] == [False, True, False, True]
    everywhere = build(window_size=2, global_blocks=[0, 1, 2, -1])
    everywhere.load_state_dict(dense.state_dict())
    without = build(window_size=None).eval()
    without.load_state_dict(dense.state_dict())
    everywhere.eval()
    for same, other, local in zip(
        everywhere(images()), without(images()), dense(images()), strict=True
    ):
        assert torch.equal(same, other)
        assert not torch.allclose(local, other)


@pytest.mark.parametrize('cls_token', [True, False])
def test_recomputing_blocks_changes_no_gradient(cls_token):
    gradients = []
    for with_cp in (False, True):
        dense = build(with_cp=with_cp, window_size=3, with_cls_token=cls_token).train()
        sum((m**2).sum() for m in dense(images())).backward()
        gradients.append({n: p.grad for n, p in dense.named_parameters()})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        if name == 'pos_embed':
            assert gradient is None
            continue
        assert gradient.abs().sum() > 0, name
        torch.testing.assert_close(gradients[1][name], gradient)


def test_recomputing_repeats_the_dropped_paths():
    dense = build(with_cp=True, drop_path_rate=0.5).train()
    plain = build(drop_path_rate=0.5).train()
    gradients = []
    for module in (dense, plain):
        torch.manual_seed(3)
        module(images())[-1].pow(2).sum().backward()
        gradients.append(module.layers[0].attn.qkv.weight.grad)
    torch.testing.assert_close(*gradients)


def test_drop_path_rises_with_depth():
    rates = [
        layer.attn.out_drop.drop_prob for layer in build(drop_path_rate=0.3).layers
    ]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_frozen_backbone_stays_as_it_is():
    dense = build(frozen=True, drop_path_rate=0.5)
    assert not any(p.requires_grad for p in dense.parameters())
    wrapper = torch.nn.Sequential(dense)
    wrapper.train()
    assert not any(part.training for part in dense.modules())
    one, two = dense(images()), dense(images())
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a, b) and not a.requires_grad


def test_bfloat16_returns_float32():
    dense = build(dtype='bfloat16', window_size=3).float().train()
    plain = build(window_size=3).float().train()
    maps, exact = dense(images().float()), plain(images().float())
    for found, expected in zip(maps, exact, strict=True):
        assert found.dtype == torch.float32
        error = (found - expected).norm() / expected.norm()
        assert 1e-5 < error < 5e-2
    sum(m.sum() for m in maps).backward()
    assert all(
        p.grad.dtype == torch.float32
        for n, p in dense.named_parameters()
        if n != 'pos_embed'
    )


def test_probe_features():
    dense = build(out_indices=[0, 1, 2, 3], norm_all=True, frozen=True)
    raw = build(out_indices=[0, 1, 2, 3], out_type='raw').eval()
    features = ConcatPooling()(dense(images()))
    assert [f.shape for f in features] == [(2, 64)]
    for block, tokens in enumerate(raw(images())):
        normed = tokens if block == 3 else raw.ln1(tokens)
        torch.testing.assert_close(
            features[0][:, 16 * block : 16 * (block + 1)], normed[:, 1:].mean(1)
        )
    token = build(out_type='cls_token', out_indices=-1, frozen=True)(images())
    torch.testing.assert_close(token[0], raw(images())[-1][:, 0])
    with pytest.raises(ValueError, match='cannot be cut into patches'):
        build(out_type='cls_token', out_indices=-1)(images(18, 24))


def test_perturbing_one_image_changes_its_maps_alone():
    dense = build(window_size=3).eval()
    changed = images(20, 28, batch=3)
    changed[1] += 1.0
    for before, after in zip(
        dense(images(20, 28, batch=3)), dense(changed), strict=True
    ):
        assert torch.equal(before[[0, 2]], after[[0, 2]])
        assert not torch.equal(before[1], after[1])


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(dtype='float16'), 'bfloat16'),
        (dict(window_size=0), 'window_size'),
        (dict(global_blocks=[4]), 'blocks 0 to 3'),
        (dict(out_indices=[1, 4]), 'blocks 0 to 3'),
        (dict(out_indices=[1, 1]), 'each once and in rising'),
        (dict(out_indices=[3, 1]), 'each once and in rising'),
        (dict(patch_size=5), 'cannot be cut'),
    ],
)
def test_bad_arguments_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        build(**settings)


@pytest.mark.parametrize('scope', ['mmpretrain', 'mmdet', 'mmseg'])
def test_found_by_name_from_every_library(scope):
    need(scope)
    with DefaultScope.overwrite_default_scope(scope):
        module = MODELS.build(
            dict(type='DenseViT', arch=ARCH, img_size=16, patch_size=4)
        )
    assert isinstance(module, DenseViT)
