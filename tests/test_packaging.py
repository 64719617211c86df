"""What a build of the package contains."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.quick_python import EXECUTABLE

ROOT = Path(__file__).resolve().parents[1]
INHERIT = """
import sys
import dseq_mm
from mmengine.config import Config

assert dseq_mm.__file__.startswith(sys.argv[1]), dseq_mm.__file__
for name in ('dseq_vitb16_600e',
             'transfer/linear_vitl16_28e_cub',
             'transfer/mask-rcnn_vitb16_25e_coco',
             'transfer/upernet_vitb16_160k_ade20k'):
    with open('own.py', 'w') as file:
        file.write(f"_base_ = 'dseq_mm::{name}.py'")
    assert Config.fromfile('own.py').model.backbone.type in ('JEPAViT', 'DenseViT')
"""


@pytest.fixture(scope='module')
def lib(tmp_path_factory):
    """Folder of a build."""
    base = tmp_path_factory.mktemp('build')
    command = ['setup.py', '-q', 'build', '--build-base', base, '--build-lib']
    subprocess.run([sys.executable, *command, base / 'lib'], cwd=ROOT, check=True)
    return base / 'lib'


def test_own_config_inherits_from_what_was_built(lib, tmp_path):
    pytest.importorskip('mmdet')
    pytest.importorskip('mmseg')
    environment = {**os.environ, 'PYTHONPATH': str(lib)}
    command = [EXECUTABLE, '-c', INHERIT, str(lib)]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=300)


def test_build_ships_configs_and_tools(lib):
    shipped = lib / 'dseq_mm'
    assert (shipped / '.mim' / 'model-index.yml').is_file()
    assert (shipped / 'py.typed').is_file()
    for folder in ('configs', 'tools'):
        here = {path.relative_to(ROOT) for path in (ROOT / folder).rglob('*.py')}
        there = {
            path.relative_to(shipped / '.mim')
            for path in (shipped / '.mim' / folder).rglob('*.py')
        }
        assert there == here and here
    modules = {p.relative_to(ROOT) for p in (ROOT / 'dseq_mm').rglob('*.py')}
    built = {p.relative_to(lib) for p in shipped.rglob('*.py')}
    wanted = {path for path in modules if '.mim' not in path.parts}
    assert {path for path in built if '.mim' not in path.parts} == wanted


def test_no_openmmlab_distribution_is_required():
    text = (ROOT / 'setup.py').read_text()
    start = text.index('install_requires=')
    assert 'mm' not in text[start : text.index('\n', start)]
