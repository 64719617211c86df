"""The doctor and the import check, on stacks that are missing, old or without ops."""

import json
import os
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import mmcv  # noqa: F401
import pytest
import torch
from mmengine.config import Config

from dseq_mm import doctor
from dseq_mm.utils import machine, stack
from dseq_mm.utils.configs import missing_libraries
from tests.libraries import need

ROOT = Path(__file__).resolve().parents[1]


def package(module):
    return next(p for p in stack.PACKAGES if p.module == module)


def pin(module):
    """The version to install beside the distribution of OpenMMLab that is there."""
    upstream = 'mmengine' in {found.name for found in distributions()}
    return package(module).upstream if upstream else package(module).pin


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
    assert f'pip install {pin("mmpretrain")} --no-build-isolation' in printed
    assert 'Pre-training can run.' not in printed


@pytest.mark.parametrize('module', ['mmdet', 'mmseg', 'sklearn'])
def test_missing_option_does_not_block(monkeypatch, capsys, module):
    monkeypatch.setitem(sys.modules, module, None)
    assert doctor.main() == 0
    printed = capsys.readouterr().out
    assert f'{module}: missing' in printed
    stack.check_stack()


def test_mmcv_without_operators(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, 'mmcv.ops', None)
    monkeypatch.delattr('mmcv.ops', raising=False)
    monkeypatch.setattr(sys, 'prefix', str(tmp_path))
    assert doctor.main() == 0
    printed = capsys.readouterr().out
    assert 'ok, no operators' in printed and 'Mask R-CNN' in printed
    command = stack.mend_command(stack.probe_operators(stack.probe(package('mmcv'))))
    for part in ('--no-build-isolation', '--no-cache-dir', '--force-reinstall'):
        assert part in command
    assert 'setuptools==80.10.2' in command
    # in an environment of the set-up script, that compiles them
    (tmp_path / stack.STAMP).touch()
    assert doctor.main() == 0
    assert 'bash tools/setup_env.sh --with-ops' in capsys.readouterr().out
    assert f'/{stack.STAMP}\n' in (ROOT / 'tools' / 'setup_env.sh').read_text()


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


@pytest.mark.parametrize('text', [None, "raise ImportError('undefined symbol: _ZN')"])
def test_the_cause_is_mended_first(monkeypatch, tmp_path, text):
    """A host that fails within mmcv is not broken itself."""
    for name in [n for n in sys.modules if n.partition('.')[0] in ('mmcv', 'needs')]:
        monkeypatch.delitem(sys.modules, name)
    if text is None:
        monkeypatch.setitem(sys.modules, 'mmcv', None)
    else:
        (tmp_path / 'mmcv.py').write_text(text)
    (tmp_path / 'needs.py').write_text('import mmcv')
    monkeypatch.syspath_prepend(tmp_path)
    host = stack.Package('needs', '1', 'needs==1')
    monkeypatch.setattr(stack, 'PACKAGES', (package('mmcv'), host))
    first, second = stack.probe_all()
    assert first.state == ('missing' if text is None else 'broken')
    assert f'pip install {pin("mmcv")}' in stack.describe(first)
    assert second.state == 'broken' and stack.mend_command(second) == ''
    assert stack.describe(second).endswith('by mmcv, which is to be mended first')
    with pytest.raises(ImportError, match='mmcv, which is to be mended first'):
        stack.check_stack()


def test_a_library_that_imports_operators_is_mended_by_them(monkeypatch, tmp_path):
    """As OpenMMLab's own MMSegmentation, all of which imports them."""
    for name in [n for n in sys.modules if n.partition('.')[0] == 'mmseg']:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / 'mmseg' / 'utils').mkdir(parents=True)
    (tmp_path / 'mmseg' / '__init__.py').write_text("__version__ = '1.2.2'")
    (tmp_path / 'mmseg' / 'utils' / '__init__.py').write_text('import mmcv.nothing')
    monkeypatch.syspath_prepend(tmp_path)
    found = {finding.package.module: finding for finding in stack.probe_all()}['mmseg']
    assert found.state == 'broken' and not found.blocks_training
    assert stack.describe(found).endswith('by mmcv, which is to be mended first')
    config = Config(dict(model=dict(type='mmseg.EncoderDecoder')))
    assert missing_libraries(config) == ['mmcv.ops']


def test_report_as_json(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'mmseg', None)
    assert doctor.main(['--json']) == 0
    report = json.loads(capsys.readouterr().out)
    assert report['can_pretrain'] and report['blocking'] == []
    assert report['packages']['torch']['version'] == torch.__version__
    assert report['packages']['mmseg']['state'] == 'missing'
    assert f'pip install {pin("mmseg")}' in report['packages']['mmseg']['mend']
    facts = report['machine']
    assert facts['cores'] == str(len(os.sched_getaffinity(0)))
    assert 'JPEG' in facts['decoders'] and 'GB here' in facts['free space']
    assert 'Gloo' in facts['processes']


def test_cores_where_the_system_does_not_tell(monkeypatch):
    monkeypatch.delattr(os, 'sched_getaffinity')
    assert machine.usable_cores() == os.cpu_count()


def test_commands_follow_the_installed_distribution(monkeypatch):
    monkeypatch.setattr(stack, 'distribution_of', lambda module: module)
    found = stack.Finding(package('mmdet'), 'missing')
    assert 'mmdet==3.3.0' in stack.mend_command(found)
    assert 'onedl' not in stack.mend_command(found)


def test_distributions_that_do_not_list_their_modules(monkeypatch):
    """Python 3.10 leaves them out."""
    monkeypatch.setattr(stack.metadata, 'packages_distributions', lambda: {})
    stack._distributions.cache_clear()
    try:
        found = {name: stack.distribution_of(name) for name in ('numpy', 'mmengine')}
    finally:
        stack._distributions.cache_clear()
    assert found['numpy'] == 'numpy'
    assert pin('mmengine').startswith(found['mmengine'] + '==')


def test_operators_do_not_come_beside_the_distribution_without(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, 'prefix', str(tmp_path))
    found = stack.Finding(package('mmcv'), 'no ops')
    monkeypatch.setattr(stack, 'distribution_of', lambda module: module)
    assert 'uninstall' not in stack.mend_command(found)
    monkeypatch.setattr(stack, 'distribution_of', lambda module: f'{module}-lite')
    command = stack.mend_command(found)
    assert 0 < command.index('uninstall -y mmcv-lite') < command.index('mmcv==2')


def test_what_a_library_imports_without_requiring_it(monkeypatch, capsys):
    """OpenMMLab's own MMSegmentation asks for ftfy only when a part is imported."""
    need('mmseg')
    for name in [n for n in sys.modules if n.startswith('mmseg.utils')]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr('mmseg.utils')
    monkeypatch.setitem(sys.modules, 'ftfy', None)
    assert doctor.main() == 0
    printed = capsys.readouterr().out
    assert 'broken (ModuleNotFoundError: import of ftfy halted' in printed
    assert 'pip install ftfy regex' in printed
    assert missing_libraries(Config(dict(default_scope='mmseg'))) == ['mmseg']


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
