"""What is read off a checkpoint, whatever is in it."""

import hashlib

import pytest
import torch
from mmengine.config import Config
from mmpretrain.models import VisionTransformer
from mmpretrain.registry import MODELS

from dseq_mm.models import DenseViT
from dseq_mm.transfer import contents
from dseq_mm.transfer.architectures import ARCHITECTURES
from dseq_mm.transfer.initialize import compare_keys
from dseq_mm.utils.configs import resolve_config, shipped_configs
from tests.transfer.conftest import ARCH, ODD, odd_contents


@pytest.mark.parametrize('kind', [kind for kind in ODD if ODD[kind]])
def test_odd_facts_are_unknown(build_vit, kind):
    checkpoint = odd_contents(kind, build_vit().state_dict())
    _, state = contents.choose_encoder(checkpoint)
    facts = contents.facts_of(checkpoint, state)
    assert facts['embed_dims'] == 32 and facts['depth'] == 4
    assert facts['grid'] is None
    assert facts['num_heads'] == (2 if kind.startswith('img_size') else None)


@pytest.mark.parametrize('shape', [(), (17,), (17, 32), (1, 1, 17, 32)])
def test_other_position_embeddings_are_no_vit(build_vit, shape):
    state = {**build_vit().state_dict(), 'pos_embed': torch.zeros(shape)}
    assert contents.describe_vit(state) == {}
    with pytest.raises(ValueError, match='file.pth is no ViT'):
        contents.check_vit({}, state, 'file.pth')


def test_heads_and_grid_of_an_exported_file_are_those_in_its_metadata(build_vit):
    state = build_vit(img_size=(32, 64)).state_dict()
    cfg = Config(dict(model=dict(backbone=dict(arch=ARCH, img_size=(64, 32)))))
    meta = dict(cfg=cfg.pretty_text)
    facts = contents.facts_of(dict(meta=meta), state)
    assert facts['num_heads'] == 2 and facts['grid'] == [8, 4]
    meta['architecture'] = dict(num_heads=4, grid=[4, 8])
    facts = contents.facts_of(dict(meta=meta), state)
    assert facts['num_heads'] == 4 and facts['grid'] == [4, 8]
    for wrong in ([4, 4], [-4, -8], [4.0, 8.0], 'ab', None):
        meta['architecture']['grid'] = wrong
        assert contents.facts_of(dict(meta=meta), state)['grid'] is None


@pytest.mark.parametrize('meta', [None, 'text', [1], 3])
def test_meta_is_a_dict(meta):
    assert contents.meta_of(dict(meta=meta)) == contents.meta_of({}) == {}
    assert contents.meta_of(dict(meta=dict(epoch=1))) == dict(epoch=1)


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_one_weight_that_is_not_finite(value):
    state = dict(fine=torch.ones(3), broken=torch.tensor([0.0, value]))
    with pytest.raises(ValueError, match=r'x\.pth.*\(broken\).*earlier checkpoint'):
        contents.check_finite(state, 'x.pth')
    contents.check_finite(dict(fine=torch.ones(3), steps=torch.tensor(3)), 'x.pth')


@pytest.mark.parametrize(
    'kind',
    ['int8', 'int64', 'bool', 'complex64', 'uint16', 'bfloat16', 'float8_e4m3fn'],
)
def test_finite_weights_of_any_type(kind):
    value = torch.ones(3).to(getattr(torch, kind))
    contents.check_finite(dict(weight=value, empty=value[:0]), 'x.pth')
    if kind.startswith(('float', 'bfloat', 'complex')):
        state = dict(weight=torch.full((3,), float('nan')).to(value.dtype))
        with pytest.raises(ValueError, match=r'x\.pth.*\(weight\)'):
            contents.check_finite(state, 'x.pth')


@pytest.mark.parametrize(
    'value',
    [
        torch.ones(3).to_sparse(),
        torch.ones(3, device='meta'),
        torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    ],
)
def test_weights_without_plain_values(value):
    with pytest.raises(ValueError, match=r'x\.pth has "odd" .*without values'):
        contents.check_finite(dict(odd=value), 'x.pth')


@pytest.mark.parametrize('kind', ['int8', 'int64', 'bool', 'complex64'])
def test_types_of_weights(kind):
    kind = getattr(torch, kind)
    state = dict(weight=torch.ones(3).to(kind))
    with pytest.raises(ValueError, match=rf'x\.pth has "weight" as {kind}, .*point'):
        contents.check_types(state, 'x.pth')
    with pytest.raises(ValueError, match=rf'x\.pth has "weight" as {kind}, .*point'):
        contents.check_types(state, 'x.pth', dict(weight=torch.ones(3)))
    contents.check_types(state, 'x.pth', {})


def test_types_of_buffers():
    state = dict(steps=torch.tensor(3), weight=torch.ones(2).half())
    contents.check_types(state, 'x.pth')
    contents.check_types(state, 'x.pth', dict(steps=torch.tensor(0)))
    with pytest.raises(ValueError, match=r'"steps" as torch.float32, where integers'):
        contents.check_types(
            dict(steps=torch.tensor(2.5)), 'x.pth', dict(steps=torch.tensor(0))
        )


def test_checksum(tmp_path):
    path = tmp_path / 'file'
    path.write_bytes(b'0123' * 400_000)  # more than is read at once
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert contents.file_sha256(path) == expected


def test_known_architectures_are_those_of_the_pretraining_configs():
    configs = {path.stem: path for path in shipped_configs()}
    for known in ARCHITECTURES.values():
        backbone = Config.fromfile(configs[f'dseq_{known.pretraining}']).model.backbone
        arch = backbone.get('arch', 'base')
        if isinstance(arch, str):
            arch = VisionTransformer.arch_zoo[arch]
        assert (arch['embed_dims'], arch['num_layers']) == known[:2]
        assert arch['num_heads'] == known.num_heads
        assert backbone.get('patch_size', 16) == known.patch_size
        assert backbone.get('img_size', 224) == known.grid * known.patch_size


STOCK = {
    'mae/mae_vit-base-p16_8xb512-amp-coslr-1600e_in1k': 'MAE',
    'mae/mae_vit-large-p16_8xb512-amp-coslr-1600e_in1k': 'MAE',
    'mocov3/mocov3_vit-base-p16_16xb256-amp-coslr-300e_in1k': 'MoCoV3',
    'mocov3/mocov3_vit-small-p16_16xb256-amp-coslr-300e_in1k': 'MoCoV3',
    'maskfeat/maskfeat_vit-base-p16_8xb256-amp-coslr-300e_in1k': 'MaskFeat',
    'milan/milan_vit-base-p16_16xb256-amp-coslr-400e_in1k': 'MILAN',
    'mff/mff_vit-base-p16_8xb512-amp-coslr-800e_in1k': 'MFF',
    'eva/eva-mae-style_vit-base-p16_16xb256-coslr-400e_in1k': 'EVA',
}


@pytest.mark.parametrize('name', STOCK)
def test_reads_what_mmpretrain_trains(name):
    """Key by key, without values, and without networks that only make targets."""
    cfg = Config.fromfile(resolve_config(f'mmpretrain::{name}.py'))
    cfg.model.pop('target_generator', None)
    with torch.device('meta'):
        algorithm = MODELS.build(cfg.model)
    checkpoint = dict(state_dict=algorithm.state_dict(), meta=dict(cfg=cfg.pretty_text))
    assert contents.method_of(checkpoint['meta']) == STOCK[name]
    assert contents.whole_model_notes(checkpoint) == []
    encoder, state = contents.choose_encoder(checkpoint)
    assert encoder == 'context'
    assert state.keys() == algorithm.backbone.state_dict().keys()
    facts = contents.facts_of(checkpoint, state)
    assert facts['num_heads'] == algorithm.backbone.arch_settings['num_heads']
    assert facts['grid'] == [14, 14] and facts['class_token']
    with torch.device('meta'):
        vit = DenseViT(arch=algorithm.backbone.arch_settings, img_size=224)
    report = compare_keys(vit.state_dict(), state, encoder)
    assert not report.missing and not report.mismatched
    # parts that only the pre-training has
    parts = {key.split('.')[0] for key in report.unexpected}
    assert parts <= {'mask_token', 'proj_layers', 'proj_weights'}


def test_heads_of_moco_v3_small(build_vit, monkeypatch):
    # before the first MoCoV3ViT is built, the zoo does not know the name
    zoo = {k: v for k, v in VisionTransformer.arch_zoo.items() if 'mocov3' not in k}
    monkeypatch.setattr(VisionTransformer, 'arch_zoo', zoo)
    cfg = Config(dict(model=dict(backbone=dict(arch='mocov3-small'))))
    facts = contents.describe_vit(build_vit().state_dict(), cfg.pretty_text)
    assert facts['num_heads'] == 12


@pytest.mark.parametrize(
    ('key', 'finished'),
    [
        ('head.fc.weight', True), ('head.layers.head.weight', True),
        ('rpn_head.conv.weight', True), ('auxiliary_head.conv.weight', True),
        ('head.predictor.fc0.weight', False), ('neck.mask_token', False),
        ('momentum_encoder.module.0.ln1.weight', False),
    ],
)  # fmt: skip
def test_finished_models_have_a_head(build_vit, key, finished):
    state = {f'backbone.{k}': v for k, v in build_vit().state_dict().items()}
    state[key] = torch.zeros(1)
    assert contents.is_finished(state) == finished
    state['target_encoder.module.ln1.weight'] = torch.zeros(1)
    assert not contents.is_finished(state)
