"""What is exported loads where it should and gives the same features."""

import hashlib
import os
import re
import runpy
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from dseq_mm.transfer import export
from dseq_mm.transfer.checkpoint import load_checkpoint
from dseq_mm.transfer.export import (
    export_backbone,
    loading_snippet,
    method_of,
    to_timm,
)
from dseq_mm.transfer.initialize import load_backbone
from dseq_mm.utils import command
from tests.transfer.conftest import ODD, odd_contents

TOOL = str(Path(__file__).parents[2] / 'tools' / 'export_backbone.py')


def features(module, images):
    """Patch tokens of the last block, ``(B, P, D)``."""
    with torch.no_grad():
        return module.double()(images)[0].flatten(2).transpose(1, 2)


@pytest.fixture
def images():
    return torch.randn(
        2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('encoder', ['target', 'context'])
def test_loads_into_the_stock_vit(
    tmp_path, pretraining, build_vit, images, suffix, encoder
):
    path, context, target = pretraining()
    out = tmp_path / ('backbone' + suffix)
    meta = export_backbone(path, out, encoder)
    if suffix == '.pth':  # with no allow-list at all
        state = torch.load(out, weights_only=True)['state_dict']
    else:
        state = load_file(out)
    module = build_vit()
    module.load_state_dict(state, strict=True)
    source, other = (target, context) if encoder == 'target' else (context, target)
    got = features(module, images)
    assert (got - features(source, images)).abs().max() < 1e-10
    assert (got - features(other, images)).abs().max() > 1e-3

    assert load_checkpoint(out)['meta'] == meta
    assert meta['source']['sha256'] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert meta['source'] | dict(sha256='') == dict(
        name='epoch_2.pth', sha256='', epoch=2, iter=7
    )
    assert meta['encoder'] == encoder and meta['format_version'] == 2
    assert meta['architecture'] == dict(
        embed_dims=32,
        depth=4,
        num_heads=2,
        feedforward_channels=64,
        patch_size=[8, 8],
        grid=[4, 4],
        class_token=True,
        layer_scale=False,
        norm_eps=1e-6,
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == [out.name, 'epoch_2.pth']
    load_backbone(build_vit(), out)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize(
    ('written', 'expected'),
    [
        ("type='DSeqJEPA', ", 'DSeqJEPA'),
        ("type='mmpretrain.IJEPA', ", 'IJEPA'),
        ("type='mmpretrain.models.selfsup.mae.MAE', ", 'MAE'),
        ("type='projects.Own', ", 'Own'),
        ("type='no class', ", None),
        ('type=None, ', None),
        ('', None),
    ],
)
def test_the_file_says_its_method(tmp_path, pretraining, suffix, written, expected):
    path, *_ = pretraining()
    checkpoint = torch.load(path, weights_only=True)
    text, start = checkpoint['meta']['cfg'], r'model ?= ?dict\('
    text = re.sub(start, f'model = dict({written}', text, count=1)
    checkpoint['meta']['cfg'] = text
    torch.save(checkpoint, path)
    assert method_of(checkpoint['meta']) == expected
    out = tmp_path / ('backbone' + suffix)
    assert export_backbone(path, out)['method'] == expected
    assert load_checkpoint(out)['meta']['method'] == expected
    assert method_of(load_checkpoint(out)['meta']) == expected


def test_a_file_without_config_has_no_method():
    assert method_of({}) is None
    assert method_of(dict(cfg='not Python (', method=None)) is None
    assert method_of(dict(method=['MAE'])) is None


@pytest.mark.parametrize('layer_scale', [0.0, 1e-5])
@pytest.mark.parametrize('class_token', [True, False])
def test_loads_into_timm(tmp_path, pretraining, images, class_token, layer_scale):
    path, _, target = pretraining(
        with_cls_token=class_token, layer_scale_init_value=layer_scale
    )
    out = tmp_path / 'timm.pth'
    meta = export_backbone(path, out, layout='timm')
    # the snippet that the tool prints is what a user pastes
    names = dict(timm=timm, torch=torch)
    exec(loading_snippet(out, meta), names)
    model = names['model'].double().eval()
    with torch.no_grad():
        tokens = model.forward_features(images)[:, int(class_token) :]
        pooled = model(images)
    expected = features(target, images)
    assert (tokens - expected).abs().max() < 1e-10
    assert (pooled - expected.mean(1)).abs().max() < 1e-10


@pytest.mark.parametrize(
    ('layout', 'layer_scale'), [('mmpretrain', 0.0), ('mmseg', 0.0), ('mmdet', 1e-5)]
)
def test_snippet_loads(tmp_path, pretraining, layout, layer_scale):
    from mmpretrain.registry import MODELS

    path, _, target = pretraining(img_size=(32, 48), layer_scale_init_value=layer_scale)
    out = tmp_path / 'backbone.safetensors'
    meta = export_backbone(path, out, layout=layout)
    names = {}
    exec(loading_snippet(out, meta), names)
    backbone = MODELS.build(names['backbone'])
    backbone.init_weights()
    loaded = backbone.state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in target.state_dict().items())


def test_round_trip(tmp_path, pretraining, build_vit):
    path, _, target = pretraining()
    out = tmp_path / 'a.pth'
    export_backbone(path, out)
    state = load_checkpoint(out)['state_dict']
    again = dict(state_dict={f'target_encoder.module.{k}': v for k, v in state.items()})
    torch.save(again, tmp_path / 'again.pth')
    export_backbone(tmp_path / 'again.pth', tmp_path / 'b.pth')
    second = load_checkpoint(tmp_path / 'b.pth')['state_dict']
    assert second.keys() == target.state_dict().keys()
    assert all(torch.equal(second[k], v) for k, v in target.state_dict().items())


def test_wrong_requests(tmp_path, pretraining, build_vit):
    path, context, _ = pretraining()
    with pytest.raises(ValueError, match='end in .pth or .safetensors'):
        export_backbone(path, tmp_path / 'a.onnx')
    with pytest.raises(ValueError, match='layout is one of'):
        export_backbone(path, tmp_path / 'a.pth', layout='keras')
    with pytest.raises(FileNotFoundError, match='make the folder'):
        export_backbone(path, tmp_path / 'none' / 'a.pth')
    only = {f'backbone.{k}': v for k, v in context.state_dict().items()}
    for head in ('head.fc', 'decode_head.conv_seg'):  # trained with labels
        state = {**only, f'{head}.weight': torch.zeros(3)}
        torch.save(dict(state_dict=state), tmp_path / 'finished.pth')
        with pytest.raises(ValueError, match='no target encoder; it has: context'):
            export_backbone(tmp_path / 'finished.pth', tmp_path / 'a.pth')
    only_target = {f'target_encoder.module.{k[9:]}': v for k, v in only.items()}
    torch.save(dict(state_dict=only_target), tmp_path / 'target.pth')
    with pytest.raises(ValueError, match='no context encoder; it has: target'):
        export_backbone(tmp_path / 'target.pth', tmp_path / 'a.pth', 'context')
    torch.save(context.state_dict(), tmp_path / 'plain.pth')
    assert export_backbone(tmp_path / 'plain.pth', tmp_path / 'a.pth')
    (tmp_path / 'a.pth').unlink()
    with pytest.raises(ValueError, match='no counterpart'):
        to_timm({'ln2.weight': torch.zeros(1)})
    only['backbone.ln1.bias'] = torch.full((32,), float('nan'))
    torch.save(dict(state_dict=only), tmp_path / 'nan.pth')
    with pytest.raises(ValueError, match='not finite'):
        export_backbone(tmp_path / 'nan.pth', tmp_path / 'a.pth', 'context')
    assert not (tmp_path / 'a.pth').exists()


@pytest.mark.parametrize(
    'others', [['neck.decoder_pos_embed'], ['head.predictor.fc0.weight']]
)
def test_the_only_encoder_is_exported(tmp_path, build_vit, images, others):
    """Pre-training without target encoder: MAE has a neck, MoCo v3 a predictor."""
    context, momentum = build_vit(seed=1), build_vit(seed=2)
    state = {f'backbone.{k}': v for k, v in context.state_dict().items()}
    state.update(
        {f'momentum_encoder.module.0.{k}': v for k, v in momentum.state_dict().items()}
    )
    state.update(dict.fromkeys(others, torch.zeros(3)))
    torch.save(dict(state_dict=state), tmp_path / 'whole.pth')
    meta = export_backbone(tmp_path / 'whole.pth', tmp_path / 'a.pth')
    assert meta['encoder'] == 'context'
    module = build_vit(seed=3)
    module.load_state_dict(load_checkpoint(tmp_path / 'a.pth')['state_dict'])
    assert torch.equal(features(module, images), features(context, images))


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('kind', ODD)
def test_odd_checkpoints(build_vit, tmp_path, kind, suffix):
    prefix = 'target_encoder.module.'
    state = {prefix + k: v for k, v in build_vit(seed=1).state_dict().items()}
    path, out = tmp_path / 'odd.pth', tmp_path / f'out{suffix}'
    torch.save(odd_contents(kind, state), path)
    if ODD[kind]:
        meta = export_backbone(path, out)
        loading_snippet(out, meta)
        assert meta['architecture']['embed_dims'] == 32 and meta['method'] is None
        load_backbone(build_vit(), out)
        return
    with pytest.raises(ValueError, match=r'no weights|not finite|no ViT'):
        export_backbone(path, out)
    assert not out.exists()


def test_a_bad_write_leaves_the_old_file(tmp_path, pretraining, monkeypatch):
    path, *_ = pretraining()
    out = tmp_path / 'a.pth'
    export_backbone(path, out)
    before = out.read_bytes()

    def lose_a_tensor(path, state, meta):
        torch.save(dict(state_dict=dict(list(state.items())[1:]), meta=meta), path)

    monkeypatch.setitem(export._WRITERS, '.pth', lose_a_tensor)
    with pytest.raises(OSError, match='not written correctly'):
        export_backbone(path, out, 'context')
    assert out.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def names_of(path, kind):
    """Another name of a file, or of its place."""
    folder, name = path.parent, path.name
    if kind == 'symlink':
        (folder / 'link.pth').symlink_to(name)
        return folder / 'link.pth'
    if kind == 'hard link':
        os.link(path, folder / 'twin.pth')
        return folder / 'twin.pth'
    other = dict(same=name, dot=f'./{name}', folder=f'../{folder.name}/{name}')
    return folder / other[kind] if kind == 'same' else f'{folder}/{other[kind]}'


@pytest.mark.parametrize('kind', ['same', 'dot', 'folder', 'symlink', 'hard link'])
def test_the_source_is_never_overwritten(tmp_path, pretraining, capsys, kind):
    path, *_ = pretraining()
    before = path.read_bytes()
    out = names_of(path, kind)
    with pytest.raises(ValueError, match='is the checkpoint itself'):
        export_backbone(path, out)
    main = runpy.run_path(TOOL)['main']
    assert command.run(main, [str(path), str(out)]) == 2
    assert capsys.readouterr().err.count('\n') == 1
    assert path.read_bytes() == before


def test_a_relative_name_of_the_source(tmp_path, pretraining, monkeypatch):
    path, *_ = pretraining()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match='is the checkpoint itself'):
        export_backbone(path, path.name)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_only_an_earlier_export_is_overwritten(tmp_path, pretraining, suffix):
    path, *_ = pretraining()
    out = tmp_path / f'out{suffix}'
    export_backbone(path, out, 'context')
    first = load_checkpoint(out)['meta']
    assert export_backbone(path, out) != first
    good = out.read_bytes()
    checkpoint = torch.load(path, weights_only=True)
    others = dict(
        another=lambda: torch.save(checkpoint, out),
        weights=lambda: save_file(dict(weight=torch.ones(2)), out),
        damaged=lambda: out.write_bytes(good[:-30]),
        text=lambda: out.write_text('notes'),
        empty=lambda: out.write_bytes(b''),
        folder=lambda: (out.unlink(), out.mkdir()),
        dangling=lambda: (out.rmdir(), out.symlink_to('nowhere')),
    )
    for write in others.values():
        write()
        before = out.read_bytes() if out.is_file() else None
        with pytest.raises(ValueError, match='no earlier export, so it is not'):
            export_backbone(path, out)
        assert (out.read_bytes() if out.is_file() else None) == before
        assert os.path.lexists(out)


@pytest.mark.parametrize('kind', [torch.int8, torch.int64, torch.bool, torch.complex64])
def test_weights_of_another_type_are_not_exported(tmp_path, pretraining, kind):
    path, *_ = pretraining()
    checkpoint = torch.load(path, weights_only=True)
    key = 'layers.1.ln1.weight'
    full = f'target_encoder.module.{key}'
    checkpoint['state_dict'][full] = checkpoint['state_dict'][full].to(kind)
    torch.save(checkpoint, path)
    with pytest.raises(ValueError, match=f'has "{key}" as {kind}'):
        export_backbone(path, tmp_path / 'a.pth')
    export_backbone(path, tmp_path / 'a.pth', 'context')


@pytest.mark.parametrize('alone', [True, False])
@pytest.mark.parametrize('kind', ['gone', 'an array'])
def test_an_encoder_that_lacks_weights_is_not_exported(
    tmp_path, pretraining, kind, alone
):
    path, *_ = pretraining()
    checkpoint = torch.load(path, weights_only=True)
    state = checkpoint['state_dict']
    keys = ['layers.1.ln1.weight', 'layers.3.ffn.layers.1.bias']
    if alone:  # its blocks tell
        for key in [key for key in state if key.startswith('backbone.')]:
            del state[key]
    else:  # its twin tells
        keys.append('ln1.bias')
    for key in keys:
        broken = dict(state)
        value = broken.pop(f'target_encoder.module.{key}')
        if kind == 'an array':
            broken[f'target_encoder.module.{key}'] = value.numpy()
        torch.save({**checkpoint, 'state_dict': broken}, path)
        with pytest.raises(ValueError, match=rf'lacks 1 tensors .*\({key}\)'):
            export_backbone(path, tmp_path / 'a.pth')
    assert not (tmp_path / 'a.pth').exists()


def test_a_draft_is_removed_when_the_disk_is_full(tmp_path, pretraining, monkeypatch):
    path, *_ = pretraining()

    def full(*args):
        raise OSError('No space left on device')

    monkeypatch.setattr(export, 'replace_durably', full)
    with pytest.raises(OSError, match='No space'):
        export_backbone(path, tmp_path / 'a.pth')
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    monkeypatch.chdir(tmp_path)
    main = runpy.run_path(TOOL)['main']
    assert command.run(main, [str(path), 'a.safetensors']) == 2


def test_tool(tmp_path, pretraining, capsys):
    path, *_ = pretraining()
    out = tmp_path / 'a.safetensors'
    main = runpy.run_path(TOOL)['main']
    main([str(path), str(out), '--layout', 'timm'])
    printed = capsys.readouterr().out
    assert 'depth 4' in printed and 'load_file' in printed
    assert out.is_file()
    assert command.run(main, ['none.pth', str(out)]) == 2
    assert 'no checkpoint none.pth' in capsys.readouterr().err
