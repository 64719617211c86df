"""Configs by name and across packages."""

import sys

import pytest
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

from dseq_mm.utils import configs


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    folder = tmp_path / 'dseq_mm' / '.mim' / 'configs'
    (folder / '_base_').mkdir(parents=True)
    (folder / 'dseq_small.py').write_text('a = 1')
    (folder / 'dseq_large.py').write_text('a = 2')
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


def test_own_scope_resolves_from_a_package_with_mim(tmp_path, monkeypatch):
    package = tmp_path / 'mim_probe'
    (package / '.mim' / 'configs' / '_base_').mkdir(parents=True)
    (package / '__init__.py').write_text('')
    (package / '.mim' / 'model-index.yml').write_text('Import: []')
    (package / '.mim' / 'configs' / '_base_' / 'b.py').write_text('a = 5')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(MODULE2PACKAGE, 'mim_probe', 'mim_probe')
    monkeypatch.delitem(sys.modules, 'mim_probe', raising=False)
    config = tmp_path / 'c.py'
    config.write_text("_base_ = 'mim_probe::_base_/b.py'")
    assert Config.fromfile(config).a == 5
    configs.register_config_scopes()
    assert MODULE2PACKAGE['dseq_mm'] == 'dseq_mm'
