"""Encoders through MMPretrain's ``get_model``."""

import pytest
import torch
from mmengine import Config
from mmpretrain import FeatureExtractor, get_model

from dseq_mm.transfer.export import export_backbone
from tests.transfer.conftest import ARCH
from tests.transfer.test_layouts import contents, timm_vit


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
