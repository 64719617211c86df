"""What a build of the package contains."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from dseq_mm.__main__ import COMMANDS
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
    for folder in ('configs', 'tools', 'projects'):
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


def test_build_ships_docs_and_no_set_up_of_clones(lib):
    shipped = lib / 'dseq_mm' / '.mim'
    here = {path.name for path in (ROOT / 'docs').iterdir()}
    assert {path.name for path in (shipped / 'docs').iterdir()} == here
    scripts = {path.name for path in (shipped / 'tools').glob('*.sh')}
    assert scripts == {'dist_train.sh', 'dist_test.sh', 'slurm_train.sh'}


def test_a_source_distribution_is_the_whole_project(tmp_path):
    listed = subprocess.run(
        ['git', 'ls-files'], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip('not a clone')
    tracked = {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}
    copy = tmp_path / 'copy'
    for name in tracked:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    command = [sys.executable, 'setup.py', '-q', 'sdist', '-d', str(tmp_path)]
    subprocess.run(command, cwd=copy, check=True)
    (archive,) = tmp_path.glob('dseq_mm-*.tar.gz')
    with tarfile.open(archive) as file:
        names = {m.name.partition('/')[2] for m in file.getmembers() if m.isfile()}
    made = {name for name in names if '.egg-info/' in name} | {'PKG-INFO', 'setup.cfg'}
    # what serves the repository alone
    hidden = {name for name in tracked if name.startswith('.')}
    assert names - made == tracked - hidden
    assert {'pyproject.toml', 'docs/install.md', 'tools/setup_env.sh'} <= names


def run_from(lib, folder, *arguments):
    """Run ``dseq-mm`` of a build in a folder of the user's."""
    environment = {**os.environ, 'PYTHONPATH': str(lib)}
    command = [sys.executable, '-m', 'dseq_mm', *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True
    )


def test_every_tool_is_a_word_of_the_command(lib, tmp_path):
    words = {file for file, _ in COMMANDS.values() if file}
    assert words == {path.stem for path in (ROOT / 'tools').glob('*.py')}
    alone = run_from(lib, tmp_path)
    assert alone.returncode == 2 and len(alone.stderr.splitlines()) < 20
    wrong = run_from(lib, tmp_path, 'trian')
    assert wrong.returncode == 2 and 'did you mean train?' in wrong.stderr
    assert run_from(lib, tmp_path, '--version').stdout.startswith('dseq-mm ')


def test_the_command_trains_from_a_build(lib, tmp_path):
    """In an empty folder: data, a step of a project's config, its backbone."""
    digits = ['make-digitscenes', 'data', '--train', 64, '--val', 32]
    made = run_from(lib, tmp_path, *digits, '--scenes-train', 1, '--scenes-val', 1)
    assert made.returncode == 0, made.stderr
    places = [
        'train_dataloader.dataset.dataset.data_root=data',
        'train_cfg.max_epochs=1',
        'train_dataloader.batch_size=32',
        'custom_hooks=[]',
    ]
    config = ['train', 'example_digitscenes_20e', '--work-dir', 'run']
    trained = run_from(lib, tmp_path, *config, '--cfg-options', *places)
    assert trained.returncode == 0, trained.stderr
    written = run_from(lib, tmp_path, 'export', 'run/epoch_1.pth', 'backbone.pth')
    assert written.returncode == 0, written.stderr
    assert (tmp_path / 'backbone.pth').is_file()


def test_an_error_names_the_command(lib, tmp_path):
    result = run_from(lib, tmp_path, 'train', 'no_such_config')
    assert result.returncode == 2
    assert result.stderr.startswith("dseq-mm train: error: 'no_such_config' is neither")


def test_no_openmmlab_distribution_is_required():
    text = (ROOT / 'setup.py').read_text()
    start = text.index('install_requires=')
    assert 'mm' not in text[start : text.index('\n', start)]
