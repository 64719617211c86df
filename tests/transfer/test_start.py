"""A transfer config is fitted to the checkpoint that it starts from."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from dseq_mm.transfer import start as transfer
from dseq_mm.utils.configs import resolve_config, shipped_configs
from tests.transfer.conftest import ODD, odd_contents

SIZES = dict(
    vits16=(384, 12, 16),
    vitb16=(768, 12, 16),
    vitl16=(1024, 24, 16),
    vith16=(1280, 32, 16),
    vith14=(1280, 32, 14),
    vitg16=(1408, 40, 16),
    digits=(96, 4, 4),
)
CONFIGS = [path for path in shipped_configs() if path.parent.name == 'transfer']
# every kind at one size, and one kind at every size
CHOSEN = [p for p in CONFIGS if 'digits' in p.stem or 'imagenet' in p.stem]


ONE = torch.zeros(1)


def sketch(width, depth, patch_size, class_token=True, prefix=''):
    """What tells the size of a ViT, without the bulk of its weights."""
    state = {
        'patch_embed.projection.weight': torch.zeros(width, 3, patch_size, patch_size),
        'pos_embed': torch.zeros(1, 4 + class_token, width),
        **{f'layers.{block}.ln1.bias': torch.zeros(1) for block in range(depth)},
    }
    if class_token:
        state['cls_token'] = torch.zeros(1, 1, width)
    return {prefix + key: value for key, value in state.items()}


@pytest.fixture
def save(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def save(state, name='checkpoint.pth', **others):
        torch.save(dict(state_dict=state, **others), name)
        return name

    return save


def make_config(**backbone):
    init_cfg = dict(type='StrictPretrained', checkpoint=None)
    backbone = {**dict(type='DenseViT', arch='base', init_cfg=init_cfg), **backbone}
    return Config(dict(model=dict(type='ImageClassifier', backbone=backbone)))


@pytest.mark.parametrize('path', CHOSEN, ids=lambda path: path.stem)
def test_shipped_configs_take_their_size(path, save, tmp_path):
    if path.stem.startswith(('mask-rcnn', 'upernet')):
        pytest.importorskip('mmdet' if path.stem.startswith('mask') else 'mmseg')
    word = next(word for word in SIZES if word in path.stem)
    shipped = Config.fromfile(path)
    cfg, before = copy.deepcopy(shipped), copy.deepcopy(shipped.model)
    notes = transfer.use_checkpoint(cfg, save(sketch(*SIZES[word])))
    assert cfg.model.backbone.init_cfg.checkpoint == str(tmp_path / 'checkpoint.pth')
    assert notes == [
        f'The backbone starts from {tmp_path / "checkpoint.pth"} (plain encoder).'
    ]
    before.backbone.init_cfg.checkpoint = str(tmp_path / 'checkpoint.pth')
    assert cfg.model == before

    other = sketch(*SIZES['digits' if word != 'digits' else 'vitb16'])
    with pytest.raises(ValueError, match='Configs of dseq_mm that fit'):
        transfer.use_checkpoint(copy.deepcopy(shipped), save(other))

    cfg = copy.deepcopy(shipped)
    notes = transfer.use_checkpoint(cfg, save(sketch(*SIZES[word], class_token=False)))
    assert cfg.model.backbone.with_cls_token is False
    clevr = path.stem.startswith('clevr')
    assert any('average of the patch tokens' in note for note in notes) == clevr
    assert cfg.model.backbone.get('out_type') != 'cls_token'
    assert not clevr or cfg.model.neck.type == 'GlobalAveragePooling'


def test_all_sizes_have_configs():
    assert len(CONFIGS) >= 16
    for word in SIZES:
        assert any(word in path.stem for path in CONFIGS)


def test_without_class_token_the_features_are_the_pooled_patches(save):
    state = sketch(96, 4, 4, class_token=False)
    cfg = Config.fromfile(resolve_config('clevr-count_digits_100e'))
    transfer.use_checkpoint(cfg, save(state))
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.eval()
    images = torch.randn(2, 3, *[model.backbone.img_size[0]] * 2)
    with torch.no_grad():
        (feature,) = model.extract_feat(images)
        (expected,) = model.backbone(images)
    assert model.head.fc.in_features == 96
    assert torch.allclose(feature, expected.mean((2, 3)), atol=1e-6)


def test_another_size_names_what_fits(save):
    cfg = Config.fromfile(resolve_config('clevr-dist_vitb16_100e'))
    path = save(sketch(1024, 24, 16))
    with pytest.raises(ValueError) as error:
        transfer.use_checkpoint(cfg, path)
    message = str(error.value)
    assert '1024 channels, 24 blocks and patches of 16 px' in message
    assert 'clevr-dist_vitb16_100e.py has one of 768 channels, 12 blocks' in message
    fitting = message.partition('fit the file: ')[2]
    assert 'clevr-dist_vitl16_100e' in fitting and 'vitb16' not in fitting
    with pytest.raises(ValueError, match='none; set model.backbone.arch'):
        transfer.use_checkpoint(cfg, save(sketch(192, 12, 16)))
    with pytest.raises(ValueError, match='patches of 8 px'):
        transfer.use_checkpoint(cfg, save(sketch(768, 12, 8)))


def test_the_encoder_that_starts_is_the_one_that_is_looked_at(save):
    # the target encoder has no class token here, the context encoder has one
    state = {
        **sketch(768, 12, 16, False, 'target_encoder.module.'),
        **sketch(768, 12, 16, True, 'backbone.'),
    }
    cfg = make_config()
    notes = transfer.use_checkpoint(cfg, save(state))
    assert '(target encoder)' in notes[0] and cfg.model.backbone.with_cls_token is False
    cfg = make_config()
    cfg.model.backbone.init_cfg.encoder = 'context'
    assert '(context encoder)' in transfer.use_checkpoint(cfg, save(state))[0]
    assert 'with_cls_token' not in cfg.model.backbone


def test_a_neck_for_class_tokens_is_not_guessed(save):
    cfg = make_config(out_type='cls_token')
    cfg.model.neck = dict(type='Mine')
    with pytest.raises(ValueError, match='Set model.backbone.out_type and model.neck'):
        transfer.use_checkpoint(cfg, save(sketch(768, 12, 16, class_token=False)))


def test_wrong_files_stop_at_once(save):
    with pytest.raises(FileNotFoundError, match='missing.pth is not a file'):
        transfer.use_checkpoint(make_config(), 'missing.pth')
    with pytest.raises(ValueError, match='no ViT with'):
        transfer.use_checkpoint(make_config(), save({'blocks.0.x': torch.zeros(1)}))
    detector = sketch(768, 12, 16, prefix='backbone.')
    detector['rpn_head.conv.weight'] = torch.zeros(1)
    with pytest.raises(ValueError, match='finished detector'):
        transfer.use_checkpoint(make_config(), save(detector))
    Path('broken.pth').write_bytes(b'PK\x03\x04')
    with pytest.raises(ValueError, match='truncated'):
        transfer.use_checkpoint(make_config(), 'broken.pth')


@pytest.mark.parametrize('kind', ODD)
def test_odd_checkpoints(save, kind):
    state = sketch(768, 12, 16)
    path, usable = save(state), ODD[kind]
    torch.save(odd_contents(kind, state), path)
    if usable:
        assert transfer.use_checkpoint(make_config(), path)
    else:
        with pytest.raises(ValueError, match=r'no weights|not finite|no ViT'):
            transfer.use_checkpoint(make_config(), path)


@pytest.mark.parametrize(
    'kind', ['StrictPretrained', 'mmengine.StrictPretrained', 'mmdet.StrictPretrained']
)
@pytest.mark.parametrize('in_list', [False, True])
def test_the_start_is_found_under_any_scope(save, tmp_path, kind, in_list):
    entry = dict(type=kind, checkpoint=None)
    others = [dict(type='Constant', layer='Linear', val=1.0)]
    cfg = make_config(init_cfg=[*others, entry] if in_list else entry)
    assert transfer.is_transfer(cfg)
    with pytest.raises(ValueError, match='--checkpoint PATH'):
        transfer.start_backbone(cfg)
    transfer.start_backbone(cfg, save(sketch(768, 12, 16)))
    start = cfg.model.backbone.init_cfg
    start = start[-1] if in_list else start
    assert start['checkpoint'] == str(tmp_path / 'checkpoint.pth')


def test_the_encoder_of_a_whole_model_is_named(save):
    state = sketch(768, 12, 16, prefix='backbone.')
    notes = transfer.use_checkpoint(make_config(), save(state))
    assert len(notes) == 1
    state['head.fc.weight'] = torch.zeros(1)
    notes = transfer.use_checkpoint(make_config(), save(state))
    assert 'whole model with head (head.fc.weight), not of a pre-train' in notes[1]
    state.update(sketch(768, 12, 16, prefix='target_encoder.module.'))
    assert len(transfer.use_checkpoint(make_config(), save(state))) == 1


def test_class_token_settings():
    cfg = make_config(out_type='cls_token')
    before = copy.deepcopy(cfg.to_dict())
    assert transfer.class_token_settings(cfg, True) == {}
    assert transfer.class_token_settings(cfg, False) == {
        'model.backbone.with_cls_token': False,
        'model.backbone.out_type': 'featmap',
        'model.neck': dict(type='GlobalAveragePooling'),
    }
    assert cfg.to_dict() == before
    cfg.model.neck = dict(type='Mine')
    with pytest.raises(ValueError, match='model.neck for patch tokens'):
        transfer.class_token_settings(cfg, False)
    cfg = make_config(out_type='featmap')
    expected = {'model.backbone.with_cls_token': False}
    assert transfer.class_token_settings(cfg, False) == expected
    assert transfer.class_token_settings(make_config(with_cls_token=False), False) == {}


def test_the_file_is_read_once(save, monkeypatch):
    read = []
    load = transfer.load_checkpoint
    monkeypatch.setattr(
        transfer, 'load_checkpoint', lambda path: read.append(path) or load(path)
    )
    transfer.use_checkpoint(make_config(), save(sketch(768, 12, 16)))
    assert len(read) == 1


def test_how_the_start_is_chosen(save, tmp_path):
    with pytest.raises(ValueError, match='--checkpoint PATH'):
        transfer.start_backbone(make_config())
    cfg = make_config()
    notes = transfer.start_backbone(cfg, scratch=True)
    assert cfg.model.backbone.init_cfg is None and 'random weights' in notes[0]
    # given as --cfg-options it is looked at as well
    cfg = make_config()
    cfg.model.backbone.init_cfg.checkpoint = save(sketch(768, 12, 16, False))
    transfer.start_backbone(cfg)
    assert cfg.model.backbone.init_cfg.checkpoint == str(tmp_path / 'checkpoint.pth')
    assert cfg.model.backbone.with_cls_token is False


@pytest.mark.parametrize(
    'cfg',
    [
        Config(dict(model=dict(backbone=dict(init_cfg=dict(type='Pretrained'))))),
        Config(dict(model=dict(backbone=dict(init_cfg=None)))),
        Config(dict(model=dict(type='Toy'))),
        Config(dict()),
    ],
)
def test_other_configs_take_no_checkpoint(cfg):
    before = copy.deepcopy(cfg.to_dict())
    assert transfer.start_backbone(cfg) == transfer.fit_to_trained(cfg, 'x.pth') == []
    for arguments in (dict(checkpoint='x.pth'), dict(scratch=True)):
        with pytest.raises(ValueError, match='for transfer configs.*StrictPretrained'):
            transfer.start_backbone(cfg, **arguments)
    assert cfg.to_dict() == before


def pretraining(kind, **model):
    backbone = dict(type='JEPAViT', arch='base', with_cls_token=False)
    return Config(dict(model=dict(type=kind, backbone=backbone, **model)))


def test_a_pretraining_starts_from_a_checkpoint(save, tmp_path):
    path = save(sketch(768, 12, 16, False, 'target_encoder.module.'))
    cfg = pretraining('IJEPA')
    notes = transfer.start_backbone(cfg, path)
    assert cfg.model.warm_start == str(tmp_path / path)
    assert 'A new pre-training starts from' in notes[0] and 'target encoder' in notes[0]
    cfg = pretraining('MAE')  # the host's: by its backbone alone
    transfer.start_backbone(cfg, path)
    assert 'warm_start' not in cfg.model
    assert cfg.model.backbone.init_cfg == dict(
        type='StrictPretrained', checkpoint=str(tmp_path / path)
    )


def test_a_resumed_training_reads_its_own_checkpoint_alone(save):
    """The file that it once started from may be gone."""
    path = save({**sketch(768, 12, 16, False, 'backbone.'), 'head.fc.weight': ONE})
    cfg = make_config()
    cfg.load_from = path
    notes = transfer.start_resumed(cfg, None)
    assert cfg.model.backbone.init_cfg is None  # nothing is read from elsewhere
    assert cfg.model.backbone.with_cls_token is False and len(notes) == 1
    cfg = make_config()
    cfg.load_from = path
    assert 'left aside' in transfer.start_resumed(cfg, 'gone.pth')[-1]
    cfg = pretraining('IJEPA', warm_start='gone.pth')
    cfg.load_from = path
    assert 'left aside' in transfer.start_resumed(cfg, 'gone.pth')[-1]
    assert 'warm_start' not in cfg.model


def test_a_pretraining_takes_one_start(save):
    cfg = pretraining('IJEPA')
    cfg.load_from = 'x.pth'
    with pytest.raises(ValueError, match='give one of them'):
        transfer.start_backbone(cfg, save(sketch(768, 12, 16, False)))


def test_a_pretraining_of_another_size_or_from_nothing_is_refused(save):
    with pytest.raises(ValueError, match='holds a ViT of 384 channels'):
        transfer.start_backbone(pretraining('IJEPA'), save(sketch(384, 12, 16)))
    with pytest.raises(FileNotFoundError):
        transfer.start_backbone(pretraining('IJEPA'), 'none.pth')
    with pytest.raises(ValueError, match='for transfer configs'):
        transfer.start_backbone(pretraining('IJEPA'), scratch=True)


def test_a_trained_model_is_tested_as_it_was_trained(save):
    head = {'head.fc.weight': torch.zeros(1)}
    cfg = make_config(out_type='cls_token')
    path = save({**sketch(768, 12, 16, False, 'backbone.'), **head})
    notes = transfer.fit_to_trained(cfg, path)
    assert cfg.model.backbone.with_cls_token is False and len(notes) == 2
    assert cfg.model.neck.type == 'GlobalAveragePooling'
    cfg = make_config(out_type='cls_token')
    path = save({**sketch(768, 12, 16, True, 'backbone.'), **head})
    assert transfer.fit_to_trained(cfg, path) == []
    # self-supervision that started from a backbone has a target encoder of its own
    cfg.model.type = 'IJEPA'
    both = {
        **sketch(768, 12, 16, prefix='backbone.'),
        **sketch(768, 12, 16, prefix='target_encoder.module.'),
    }
    assert transfer.fit_to_trained(cfg, save(both)) == []
    cfg.model.type = 'ImageClassifier'
    for prefix in ('', 'target_encoder.module.'):
        state = sketch(768, 12, 16, prefix=prefix)
        with pytest.raises(ValueError, match='Train it first'):
            transfer.fit_to_trained(cfg, save(state))
