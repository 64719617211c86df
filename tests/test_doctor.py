"""The doctor and the import check, on stacks that are missing, old or without ops."""

import subprocess
import sys
from pathlib import Path

import mmcv  # noqa: F401
import pytest
import torch

from dseq_mm import doctor
from dseq_mm.utils import stack

ROOT = Path(__file__).resolve().parents[1]


def package(module):
    return next(p for p in stack.PACKAGES if p.module == module)


def bare_python(*arguments):
    """Python without site-packages: nothing is installed there."""
    return subprocess.run(
        [sys.executable, '-S', *arguments], cwd=ROOT, capture_output=True, text=True
    )


def test_healthy_stack_passes(capsys):
    assert doctor.main() == 0
    printed = capsys.readouterr().out
    assert 'Pre-training can run.' in printed
    assert torch.__version__ in printed


def test_missing_package_blocks_training(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'mmpretrain', None)
    assert doctor.main() == 1
    printed = capsys.readouterr().out
    assert 'mmpretrain: missing' in printed
    assert 'pip install onedl-mmpretrain==1.3.6 --no-build-isolation' in printed
    assert 'Pre-training can run.' not in printed


@pytest.mark.parametrize('module', ['mmdet', 'mmseg', 'sklearn'])
def test_missing_option_does_not_block(monkeypatch, capsys, module):
    monkeypatch.setitem(sys.modules, module, None)
    assert doctor.main() == 0
    printed = capsys.readouterr().out
    assert f'{module}: missing' in printed
    stack.check_stack()


def test_mmcv_without_operators(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'mmcv.ops', None)
    monkeypatch.delattr('mmcv.ops', raising=False)
    assert doctor.main() == 0
    printed = capsys.readouterr().out
    assert 'mmcv' in printed and 'no ops' in printed
    command = stack.mend_command(stack.probe_operators(stack.probe(package('mmcv'))))
    for part in ('--no-build-isolation', '--no-cache-dir', '--force-reinstall'):
        assert part in command
    assert 'setuptools==80.10.2' in command


def test_old_package_blocks_training(monkeypatch):
    monkeypatch.setattr(torch, '__version__', '1.13.1')
    found = stack.probe(package('torch'))
    assert found.state == 'too old' and found.blocks_training
    with pytest.raises(ImportError, match='pip install torch==2.11.0'):
        stack.check_stack()


def test_broken_import_is_reported(monkeypatch, tmp_path):
    (tmp_path / 'brokenlib.py').write_text("raise OSError('libGL.so.1: no such file')")
    monkeypatch.syspath_prepend(tmp_path)
    found = stack.probe(stack.Package('brokenlib', '1', 'brokenlib==1'))
    assert found.state == 'broken' and 'libGL.so.1' in found.detail
    assert '--force-reinstall --no-deps' in stack.mend_command(found)


def test_lacking_another_package_points_to_it(monkeypatch, tmp_path):
    (tmp_path / 'needsmmcv.py').write_text('import mmcv')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, 'mmcv', None)
    found = stack.probe(stack.Package('needsmmcv', '1', 'needsmmcv==1'))
    assert stack.mend_command(found) == ''
    assert 'mend mmcv first' in stack.describe(found)


def test_commands_follow_the_installed_distribution(monkeypatch):
    monkeypatch.setattr(stack, 'distribution_of', lambda module: module)
    found = stack.Finding(package('mmdet'), 'missing')
    assert 'mmdet==3.3.0' in stack.mend_command(found)
    assert 'onedl' not in stack.mend_command(found)


@pytest.mark.parametrize(
    ('older', 'newer'), [('2.9.1', '2.11.0'), ('0.10.7', '0.10.12rc1'), ('2', '2.0.1')]
)
def test_versions_compare_by_number(older, newer):
    assert stack.parse_version(older) < stack.parse_version(newer)


def test_pins_are_those_of_the_requirement_files():
    lines = [
        line
        for path in (ROOT / 'requirements').glob('*.txt')
        for line in path.read_text().splitlines()
    ]
    for pinned in stack.PACKAGES:
        assert pinned.pin in lines
    assert 'setuptools==80.10.2' in lines


def test_doctor_runs_where_nothing_is_installed():
    result = bare_python('-m', 'dseq_mm.doctor')
    assert result.returncode == 1, result.stderr
    assert 'torch: missing' in result.stdout
    assert 'pip install torch==2.11.0' in result.stdout
    assert 'Traceback' not in result.stderr


def test_import_says_what_to_do_where_nothing_is_installed():
    result = bare_python('-c', 'import dseq_mm')
    assert result.returncode == 1
    assert 'ImportError: dseq_mm cannot work' in result.stderr
    assert 'pip install torch==2.11.0' in result.stderr
    assert 'tools/setup_env.sh' in result.stderr
