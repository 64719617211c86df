"""What a build of the package contains."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_build_ships_configs_and_tools(tmp_path):
    command = ['setup.py', '-q', 'build', '--build-base', tmp_path, '--build-lib']
    subprocess.run([sys.executable, *command, tmp_path / 'lib'], cwd=ROOT, check=True)
    shipped = tmp_path / 'lib' / 'dseq_mm'
    assert (shipped / '.mim' / 'model-index.yml').is_file()
    for folder in ('configs', 'tools'):
        here = {path.relative_to(ROOT) for path in (ROOT / folder).rglob('*.py')}
        there = {
            path.relative_to(shipped / '.mim')
            for path in (shipped / '.mim' / folder).rglob('*.py')
        }
        assert there == here and here
    modules = {p.relative_to(ROOT) for p in (ROOT / 'dseq_mm').rglob('*.py')}
    built = {p.relative_to(tmp_path / 'lib') for p in shipped.rglob('*.py')}
    wanted = {path for path in modules if '.mim' not in path.parts}
    assert {path for path in built if '.mim' not in path.parts} == wanted


def test_no_openmmlab_distribution_is_required():
    text = (ROOT / 'setup.py').read_text()
    start = text.index('install_requires=')
    assert 'mm' not in text[start : text.index('\n', start)]
