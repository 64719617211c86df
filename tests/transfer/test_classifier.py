"""Encoders through MMPretrain's ``get_model``."""

from pathlib import Path

import pytest
import torch
from mmengine import Config
from mmpretrain import FeatureExtractor, get_model, list_models
from modelindex.load_model_index import load

from dseq_mm.transfer.export import export_backbone
from dseq_mm.transfer.layouts import to_ijepa
from tests.transfer.conftest import ARCH
from tests.transfer.test_layouts import contents, timm_vit

ROOT = Path(__file__).resolve().parents[2]


def config(**settings):
    backbone = dict(type='VisionTransformer', arch=ARCH, img_size=32, patch_size=8)
    backbone = {**backbone, 'out_type': 'featmap', **settings}
    head = dict(type='LinearClsHead', num_classes=3, in_channels=32)
    neck = dict(type='GlobalAveragePooling')
    model = dict(type='ImageClassifier', backbone=backbone, neck=neck, head=head)
    # FeatureExtractor reads how to load an image from there
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    loader = dict(dataset=dict(type='CustomDataset', pipeline=pipeline))
    return Config(dict(model=model, test_dataloader=loader))


def equal(backbone, expected):
    state = backbone.state_dict()
    assert state.keys() == expected.state_dict().keys()
    return all(torch.equal(state[k], v) for k, v in expected.state_dict().items())


def test_an_exported_backbone_arrives(pretraining, tmp_path):
    path, _, target = pretraining()
    out = tmp_path / 'backbone.pth'
    export_backbone(path, out)
    assert equal(get_model(config(), pretrained=str(out)).backbone, target)


@pytest.mark.parametrize('wanted', ['target', 'context'])
def test_a_pretraining_checkpoint_gives_the_encoder_asked_for(pretraining, wanted):
    path, context, target = pretraining()
    init = dict(type='StrictPretrained', checkpoint=str(path), encoder=wanted)
    model = get_model(config(init_cfg=init), pretrained=str(path))
    assert equal(model.backbone, dict(context=context, target=target)[wanted])


def test_the_target_encoder_is_the_default(pretraining):
    path, _, target = pretraining()
    extractor = FeatureExtractor(config(), pretrained=str(path))
    assert equal(extractor.model.backbone, target)


def test_an_official_layout_arrives(tmp_path, build_vit):
    source = timm_vit(0)
    path = tmp_path / 'official.pth.tar'
    torch.save(contents('ijepa', source), path)
    model = get_model(config(), pretrained=str(path))
    weight = source.state_dict()['blocks.3.attn.qkv.weight']
    assert torch.equal(model.backbone.layers[3].attn.qkv.weight, weight)


def test_a_classifier_is_loaded_as_ever(tmp_path):
    trained = get_model(config())
    path = tmp_path / 'classifier.pth'
    torch.save(dict(state_dict=trained.state_dict()), path)
    loaded = get_model(config(), pretrained=str(path))
    assert equal(loaded, trained)


def test_within_another_module(pretraining, tmp_path):
    path, _, target = pretraining()
    out = tmp_path / 'backbone.pth'
    export_backbone(path, out)
    state = torch.load(out, weights_only=True)['state_dict']
    whole = torch.nn.ModuleDict(dict(student=get_model(config())))
    whole.load_state_dict({f'student.{k}': v for k, v in state.items()}, strict=False)
    assert equal(whole['student'].backbone, target)


@pytest.mark.parametrize('file', [dict(), dict(with_cls_token=False)])
def test_what_does_not_fit_is_refused(pretraining, file):
    path, _, _ = pretraining(**file)
    settings = {} if file else dict(arch={**ARCH, 'feedforward_channels': 128})
    with pytest.raises(ValueError, match='does not fit the backbone'):
        get_model(config(**settings), pretrained=str(path))


def test_parts_that_start_anew_are_named(pretraining):
    path, _, _ = pretraining()
    settings = dict(out_type='avg_featmap')
    init = dict(type='StrictPretrained', checkpoint='x', allow_missing=['ln2'])
    with pytest.raises(ValueError, match='ln2'):
        get_model(config(**settings), pretrained=str(path))
    model = get_model(config(**settings, init_cfg=init), pretrained=str(path))
    assert model.backbone.ln2.weight.eq(1).all()


NAME = 'dseq_digitscenes_20e'


@pytest.fixture(scope='module')
def trained():
    """The network of that config, its two encoders far from each other."""
    model = get_model(NAME)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.mark.parametrize('kind', ['own', 'export', 'official'])
def test_a_pretraining_config_by_name_with_a_file(trained, tmp_path, kind):
    own, file = tmp_path / 'own.pth', tmp_path / 'file.pth'
    arch = dict(grid=[6, 6], num_heads=3)
    state = trained.state_dict()
    torch.save(dict(state_dict=state, meta=dict(architecture=arch)), own)
    if kind == 'own':
        file = own
    elif kind == 'export':
        export_backbone(own, file)
    else:
        rest = {k: v for k, v in state.items() if not k.endswith('.steps')}
        torch.save(to_ijepa(rest), file)
    model = get_model(NAME, pretrained=str(file))
    images = torch.randn(2, 3, 24, 24)
    with torch.no_grad():
        (found,) = model.extract_feat(images)
        (expected,) = trained.target_encoder.module(images)
        (other,) = trained.backbone(images)
    assert torch.equal(found, expected) and not torch.equal(found, other)
    assert torch.equal(
        model.target_encoder.module.pos_embed, trained.target_encoder.module.pos_embed
    )
    same = torch.equal(model.neck.embed.weight, trained.neck.embed.weight)
    assert same == (kind != 'export')  # which has no predictor


def test_a_file_that_does_not_fit_the_algorithm_is_refused(tmp_path, pretraining):
    path, *_ = pretraining()
    export_backbone(path, tmp_path / 'backbone.pth')
    with pytest.raises(ValueError, match='does not fit the backbone'):
        get_model(NAME, pretrained=str(tmp_path / 'backbone.pth'))


def test_the_model_index_names_every_pretraining_config():
    names = {path.stem for path in (ROOT / 'configs').glob('*.py')}
    assert names <= set(list_models('*'))
    index = load(str(ROOT / 'model-index.yml'))
    index.build_models_with_collections()
    assert {model.name for model in index.models} == names
    for model in index.models:
        assert not model.results and model.weights is None  # we publish none
        config = Config.fromfile(ROOT / model.config)
        assert model.metadata.epochs == config.train_cfg.max_epochs
        assert model.in_collection in {c.name for c in index.collections}
