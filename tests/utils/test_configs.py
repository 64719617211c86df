"""Configs by name and across packages."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from dseq_mm.utils import configs
from tests.libraries import need


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    folder = tmp_path / 'dseq_mm' / '.mim' / 'configs'
    (folder / '_base_').mkdir(parents=True)
    (folder / 'dseq_small.py').write_text('a = 1')
    (folder / 'dseq_large.py').write_text('a = 2')
    (folder / '_base_' / 'runtime.py').write_text('a = 3')
    (folder / 'transfer' / '_base_').mkdir(parents=True)
    (folder / 'transfer' / '_base_' / 'hidden.py').write_text('a = 4')
    (folder / 'transfer' / 'mask-rcnn_vitb16.py').write_text('a = 5')
    (folder / 'transfer' / 'dseq_small.py').write_text('a = 6')
    monkeypatch.setattr(configs, 'PACKAGE', tmp_path / 'dseq_mm')
    return folder


@pytest.mark.parametrize('name', ['dseq_small', 'dseq_small.py'])
def test_name_resolves(shipped, name):
    assert configs.resolve_config(name) == str(shipped / 'dseq_small.py')


def test_a_path_wins(shipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'dseq_small.py').write_text('a = 3')
    assert configs.resolve_config('dseq_small.py') == 'dseq_small.py'


def test_name_with_a_dot_keeps_it(shipped):
    (shipped / 'lr1.5.py').write_text('a = 4')
    assert configs.resolve_config('lr1.5') == str(shipped / 'lr1.5.py')


def test_unknown_name_lists_the_nearest(shipped):
    with pytest.raises(ValueError, match='neither a file nor a config.*dseq_small'):
        configs.resolve_config('dseq_smal')


@pytest.mark.parametrize('name', ['mask-rcnn_vitb16', 'transfer/mask-rcnn_vitb16.py'])
def test_name_resolves_in_sub_folders(shipped, name):
    expected = shipped / 'transfer' / 'mask-rcnn_vitb16.py'
    assert configs.resolve_config(name) == str(expected)
    # the top folder wins, unless the sub-folder is named
    assert configs.resolve_config('dseq_small') == str(shipped / 'dseq_small.py')
    inner = shipped / 'transfer' / 'dseq_small.py'
    assert configs.resolve_config('transfer/dseq_small') == str(inner)


def test_bases_are_no_configs(shipped):
    for name in ('runtime', 'hidden', '*'):
        with pytest.raises(ValueError, match='neither a file nor a config'):
            configs.resolve_config(name)
    names = {path.stem for path in configs.shipped_configs()}
    assert names == {'dseq_small', 'dseq_large', 'mask-rcnn_vitb16'}


def test_nearest_names_cover_sub_folders(shipped):
    with pytest.raises(ValueError, match='Near it: mask-rcnn_vitb16 '):
        configs.resolve_config('mask-rcnn_vitl16')


STOCK = 'mae_vit-base-p16_8xb512-amp-coslr-300e_in1k'


@pytest.mark.parametrize('name', [f'mae/{STOCK}.py', f'mae/{STOCK}', STOCK])
def test_configs_of_libraries(name):
    path = Path(configs.resolve_config(f'mmpretrain::{name}'))
    assert path.parts[-4:] == ('.mim', 'configs', 'mae', f'{STOCK}.py')
    assert Config.fromfile(path).model.type == 'MAE'


def test_own_configs_with_our_name(shipped):
    for name in ('dseq_small', 'transfer/mask-rcnn_vitb16'):
        found = configs.resolve_config(f'dseq_mm::{name}')
        assert found == configs.resolve_config(name)


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        (
            'mmpretrain::mae/mae_vit-base_300e.py',
            f'Near it: .*mmpretrain::{STOCK[:17]}',
        ),
        ('mmpretrain::default_runtime', 'config of mmpretrain'),  # a base
        ('mmrotate::a/b.py', "'mmrotate', before.*dseq_mm.doctor.*LIBRARY::FOLDER"),
        ('torch::a/b.py', '\'torch\', before the "::", is no library of OpenMMLab'),
        ('::x', 'config of dseq_mm'),
        ('a::b::c', "'a::b', before"),
    ],
)
def test_wrong_configs_of_libraries(name, message):
    with pytest.raises(ValueError, match=message):
        configs.resolve_config(name)


def test_clone_without_installation(tmp_path, monkeypatch):
    (tmp_path / 'configs').mkdir()
    (tmp_path / 'configs' / 'x.py').write_text('a = 1')
    monkeypatch.setattr(configs, 'PACKAGE', tmp_path / 'dseq_mm')
    assert configs.resolve_config('x') == str(tmp_path / 'configs' / 'x.py')


def test_mmseg_base_resolves_under_any_distribution_name(tmp_path):
    pytest.importorskip('mmseg')
    configs.register_config_scopes()
    config = tmp_path / 'c.py'
    config.write_text("_base_ = 'mmseg::_base_/models/upernet_r50.py'")
    assert Config.fromfile(config).model.decode_head.type == 'UPerHead'


@pytest.mark.parametrize(
    'name',
    [
        'dseq_digitscenes_20e',
        'transfer/linear_digits_28e',
        'transfer/mask-rcnn_digits_25e',
        'transfer/upernet_digits_3k',
    ],
)
def test_own_configs_are_inherited_by_name(name, tmp_path):
    config = tmp_path / 'c.py'
    config.write_text(f"_base_ = 'dseq_mm::{name}.py'")
    cfg = Config.fromfile(config)
    plain = Config.fromfile(configs.resolve_config(name))
    assert cfg.to_dict() == plain.to_dict()  # and nothing is marked with our name
    need(cfg.default_scope)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        assert type(MODELS.build(cfg.model)).__name__ == cfg.model.type


@pytest.mark.parametrize(
    ('text', 'missing'),
    [
        ("_base_ = './nothing.py'", 'nothing.py'),
        ("_base_ = ['./good.py', 'dseq_mm::nothing.py']", 'nothing.py'),
        ("_base_ = './own.py'", 'deep.py'),
        ("open('nothing.py')", None),
        ("_base_ = './good.py'\nopen('nothing.py')", None),
    ],
)
def test_a_base_that_does_not_exist_is_told_from_other_files(tmp_path, text, missing):
    (tmp_path / 'good.py').write_text('a = 1')
    (tmp_path / 'own.py').write_text("_base_ = './deep.py'")
    (tmp_path / 'c.py').write_text(text)
    with pytest.raises(ValueError, match='nothing|deep') as caught:
        configs.read_config(str(tmp_path / 'c.py'))
    assert isinstance(caught.value, configs.MissingBase) == (missing is not None)
    if missing:
        assert Path(caught.value.file).name == missing
        assert str(caught.value).endswith(f'{missing}, named in _base_, does not exist')


def test_missing_libraries(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmcv.ops', ModuleType('mmcv.ops'))
    for library in ('mmseg', 'mmdet'):  # None makes an import fail
        monkeypatch.setitem(sys.modules, library, None)
    neck = [dict(type='mmseg.Feature2Pyramid', norm_cfg=dict(type='BN'))]
    own = dict(type='mine.Head', init=dict(type='mmpretrain.X', kind=dict(type=None)))
    cfg = Config(dict(model=dict(neck=neck, head=own), default_scope='mmdet'))
    assert configs.missing_libraries(cfg) == ['mmdet', 'mmseg']
    assert configs.missing_libraries(Config(dict(default_scope='mmpretrain'))) == []
    assert configs.missing_libraries(Config(dict())) == []


def test_detection_needs_operators_and_nothing_else_does(monkeypatch):
    pytest.importorskip('mmdet')
    pytest.importorskip('mmseg')
    monkeypatch.setitem(sys.modules, 'mmcv.ops', None)
    # stands for a library whose parts can be imported
    monkeypatch.setitem(sys.modules, 'mmseg.utils', ModuleType('mmseg.utils'))
    detection = Config(dict(model=dict(type='mmdet.MaskRCNN')))
    assert configs.missing_libraries(detection) == ['mmcv.ops']
    assert 'setup_env.sh --with-ops' in configs.missing_advice('a.py', 'mmcv.ops')
    for scope in ('mmpretrain', 'mmseg'):
        assert configs.missing_libraries(Config(dict(default_scope=scope))) == []


def test_bare_type():
    for name in ('BN', 'mmengine.BN', type('BN', (), {})):
        assert configs.bare_type(dict(type=name)) == 'BN'
    assert configs.bare_type({}) == configs.bare_type(dict(type=None)) == ''


def test_a_module_of_ones_own_that_is_not_found(tmp_path):
    """The doctor cannot install what is the user's own."""
    (tmp_path / 'c.py').write_text("custom_imports = dict(imports=['nowhere_at_all'])")
    with pytest.raises(ValueError, match='nowhere_at_all on PYTHONPATH') as caught:
        configs.read_config(str(tmp_path / 'c.py'))
    assert 'doctor' not in str(caught.value)
