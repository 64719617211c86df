"""Models that transformers has saved, against its own forward pass."""

import json

import pytest
import torch

from dseq_mm.transfer.checkpoint import load_checkpoint
from dseq_mm.transfer.contents import facts_of, split_encoders, state_dict_of
from dseq_mm.transfer.export import complete_facts, export_backbone
from dseq_mm.transfer.initialize import load_backbone
from tests.transfer.conftest import ARCH, build_vit
from tests.transfer.test_layouts import tokens_of

transformers = pytest.importorskip('transformers')

SIZES = dict(
    hidden_size=ARCH['embed_dims'],
    num_hidden_layers=ARCH['num_layers'],
    num_attention_heads=ARCH['num_heads'],
    intermediate_size=ARCH['feedforward_channels'],
    mlp_ratio=ARCH['feedforward_channels'] // ARCH['embed_dims'],
    image_size=32,
    patch_size=8,
    layer_norm_eps=1e-6,
)
KINDS = dict(IJepa=False, ViT=True, ViTMAE=True, Dinov2=True)
"""Models, and whether they have a class token."""
WITHIN = {
    'ViT': 'ViTForImageClassification',
    'ViTMAE': 'ViTMAEForPreTraining',
    'IJepa': 'IJepaForImageClassification',
}


def build(name, **changes):
    """A model of transformers of the tests' size, all parameters far from zero."""
    kind = next(kind for kind in sorted(KINDS, key=len)[::-1] if name.startswith(kind))
    config = getattr(transformers, f'{kind}Config')(**{**SIZES, **changes})
    torch.manual_seed(0)
    model = getattr(transformers, name)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def features(model, images):
    """Its patch tokens after the final norm."""
    model = getattr(model, model.base_model_prefix, model)
    if model.config.model_type == 'vit_mae':  # it hides patches and shuffles the rest
        model.config.mask_ratio = 0.0
        noise = torch.arange(16.0).expand(len(images), -1)
        return model(images, noise=noise).last_hidden_state
    return model(images).last_hidden_state


@pytest.mark.parametrize('whole', [False, True])
@pytest.mark.parametrize('kind', KINDS)
def test_a_saved_folder_has_the_features_of_the_model(tmp_path, kind, whole):
    if whole and kind not in WITHIN:
        pytest.skip('no such model')
    model = build(WITHIN[kind] if whole else f'{kind}Model')
    model.save_pretrained(tmp_path)
    token = KINDS[kind]
    scale = dict(layer_scale_init_value=1e-5) if kind == 'Dinov2' else {}
    backbone = build_vit(seed=5, with_cls_token=token, **scale)
    report = load_backbone(backbone, tmp_path)
    assert not (report.missing or report.mismatched or report.resized)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = features(model, images)[:, int(token) :]
        found = tokens_of(backbone, images)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_files_alone_and_names_in_memory_are_read_too(tmp_path):
    model = build('IJepaModel')
    model.save_pretrained(tmp_path)
    file = load_checkpoint(tmp_path / 'model.safetensors')
    folder = state_dict_of(load_checkpoint(tmp_path))
    torch.save(model.state_dict(), tmp_path / 'names.pth')  # those of transformers 5
    newer = load_checkpoint(tmp_path / 'names.pth')
    wanted = split_encoders(build_vit(with_cls_token=False).state_dict())[
        'plain'
    ].keys()
    for state in (state_dict_of(file), folder, state_dict_of(newer)):
        assert state.keys() == wanted
        assert all(torch.equal(state[name], folder[name]) for name in wanted)


def test_what_a_folder_says_of_its_model(tmp_path):
    build('ViTModel', image_size=(32, 64), layer_norm_eps=1e-12).save_pretrained(
        tmp_path
    )
    (tmp_path / 'README.md').write_text('---\nlicense: cc-by-nc-4.0\n---\n# Model\n')
    checkpoint = load_checkpoint(tmp_path)
    facts = facts_of(checkpoint, state_dict_of(checkpoint))
    assert facts['num_heads'] == ARCH['num_heads'] and facts['grid'] == [4, 8]
    assert facts['norm_eps'] == 1e-12
    assert checkpoint['meta']['license'] == 'cc-by-nc-4.0'
    with pytest.raises(ValueError, match='num_heads 4 in the file, 2 in the model'):
        config = json.loads((tmp_path / 'config.json').read_text())
        config.update(num_attention_heads=4, image_size=[32, 64])
        (tmp_path / 'config.json').write_text(json.dumps(config))
        load_backbone(build_vit(img_size=(32, 64)), tmp_path)


@pytest.mark.parametrize(
    ('kind', 'changes', 'message'),
    [
        ('Dinov2Model', dict(use_swiglu_ffn=True), 'use_swiglu_ffn=True'),
        ('ViTModel', dict(hidden_act='relu'), "hidden_act='relu'"),
        ('ViTModel', dict(qkv_bias=False), r'qkv\.bias'),
    ],
)
def test_what_the_vit_lacks_is_refused(tmp_path, kind, changes, message):
    build(kind, **changes).save_pretrained(tmp_path)
    backbone = build_vit()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_backbone(backbone, tmp_path)
    assert all(torch.equal(before[n], v) for n, v in backbone.state_dict().items())


def test_parts_of_a_large_model(tmp_path):
    model = build('ViTModel')
    model.save_pretrained(tmp_path, max_shard_size='20KB')
    parts = sorted(tmp_path.glob('*.safetensors'))
    assert len(parts) > 1
    state = state_dict_of(load_checkpoint(tmp_path))
    assert state.keys() == build_vit().state_dict().keys()
    parts[0].unlink()
    with pytest.raises(FileNotFoundError, match=f'lacks {parts[0].name}'):
        load_checkpoint(tmp_path)


def test_folders_without_a_model(tmp_path):
    with pytest.raises(FileNotFoundError, match='a folder without config.json'):
        load_checkpoint(tmp_path)
    (tmp_path / 'config.json').write_text('{}')
    with pytest.raises(FileNotFoundError, match='no weights'):
        load_checkpoint(tmp_path)
    (tmp_path / 'pytorch_model.bin').write_bytes(b'abc')
    with pytest.raises(ValueError, match='cannot be read as a checkpoint'):
        load_checkpoint(tmp_path)
    torch.save(build_vit().state_dict(), tmp_path / 'pytorch_model.bin')
    (tmp_path / 'config.json').write_text('{')
    with pytest.raises(ValueError, match=r'config\.json cannot be read'):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ('settings', 'kind'),
    [
        (dict(with_cls_token=False), 'IJepaModel'),
        (dict(), 'ViTModel'),
        (dict(layer_scale_init_value=1e-5), 'Dinov2Model'),
        (dict(img_size=(32, 48)), 'ViTModel'),
    ],
)
def test_automodel_loads_what_is_exported(tmp_path, pretraining, settings, kind):
    path, _, target = pretraining(**settings)
    out = tmp_path / 'model'
    meta = export_backbone(path, out, layout='hf')
    assert sorted(file.name for file in out.iterdir()) == [
        'README.md',
        'config.json',
        'model.safetensors',
        'preprocessor_config.json',
    ]
    model = transformers.AutoModel.from_pretrained(out).eval()
    assert type(model).__name__ == kind
    token = settings.get('with_cls_token', True)
    height, width = settings.get('img_size', (32, 32))
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (2, 3, height, width), generator=generator)
    processor = transformers.AutoImageProcessor.from_pretrained(out)
    again = processor(pixels.byte(), return_tensors='pt')['pixel_values']
    mean = torch.tensor(meta['pixels']['mean'])[:, None, None] / 255
    std = torch.tensor(meta['pixels']['std'])[:, None, None] / 255
    torch.testing.assert_close(again, (pixels / 255 - mean) / std, rtol=0, atol=1e-5)
    with torch.no_grad():
        found = model(again).last_hidden_state[:, int(token) :]
        expected = tokens_of(target, again)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    # and back
    assert load_checkpoint(out)['meta'] == meta
    backbone = build_vit(seed=9, **settings)
    load_backbone(backbone, out)
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, target.state_dict()[name]), name


@pytest.mark.parametrize('size', [(32, 32), (32, 48)])  # 16 patches, 24 = 25 - 1
def test_each_layout_gives_back_what_every_other_has_written(
    tmp_path, pretraining, size
):
    path, _, target = pretraining(img_size=size)
    places = dict(hf='hf', timm='timm.pth', mmpretrain='own.safetensors')
    for first in places:
        export_backbone(path, tmp_path / places[first], layout=first)
        for second in places:
            out = tmp_path / f'{first}-{places[second]}'
            meta = export_backbone(tmp_path / places[first], out, layout=second)
            assert meta['encoder'] == 'target' and meta['layout'] == second
            state = split_encoders(state_dict_of(load_checkpoint(out)))['plain']
            assert state.keys() == target.state_dict().keys()
            for name, value in target.state_dict().items():
                assert torch.equal(state[name], value), (first, second, name)


def test_places_that_are_not_overwritten(tmp_path, pretraining):
    path, *_ = pretraining()
    out = tmp_path / 'model'
    export_backbone(path, out, layout='hf')
    (out / 'note').write_text('of an earlier export')
    export_backbone(path, out, 'context', layout='hf')  # replaced as a whole
    assert not (out / 'note').exists()
    other = tmp_path / 'other'
    other.mkdir()
    (other / 'thesis.txt').write_text('mine')
    with pytest.raises(ValueError, match='no earlier export'):
        export_backbone(path, other, layout='hf')
    assert (other / 'thesis.txt').read_text() == 'mine'
    with pytest.raises(ValueError, match='is a folder'):
        export_backbone(path, tmp_path / 'x.pth', layout='hf')


def test_facts_that_a_file_does_not_tell(tmp_path):
    state = build_vit().state_dict()  # 32 channels: no published ViT
    torch.save(state, tmp_path / 'plain.pth')
    with pytest.raises(ValueError, match='does not tell the number of attention heads'):
        export_backbone(tmp_path / 'plain.pth', tmp_path / 'out', layout='hf')
    facts = dict(num_heads=None, grid=None, embed_dims=768, class_token=True)
    complete_facts(facts, state, 'x')
    assert facts['num_heads'] == 12 and facts['grid'] == [4, 4]
