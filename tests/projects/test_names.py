"""One project has two names in a clone, and is one project."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.quick_python import EXECUTABLE

ROOT = Path(__file__).parents[2]
NAMES = ('projects.dmt_jepa', 'dseq_mm.projects.dmt_jepa')
READ = """
import importlib, sys, warnings
from mmengine.config import Config

warnings.simplefilter('error', ImportWarning)
for path in sys.argv[1:]:
    assert Config.fromfile(path).model.type == 'DMTJEPA'
old, new = map(importlib.import_module, ('projects.dmt_jepa', 'dseq_mm.projects.dmt_jepa'))
assert old is new and old.__spec__.name == old.__name__ == 'dseq_mm.projects.dmt_jepa'
from dseq_mm.projects.dmt_jepa.neighbors import semantic_neighbors as one
from projects.dmt_jepa.neighbors import semantic_neighbors as other
assert one is other
"""  # noqa: E501


@pytest.mark.parametrize('names', [NAMES, NAMES[::-1]])
def test_a_config_with_the_old_name_registers_nothing_twice(names, tmp_path):
    base = f"_base_ = '{ROOT}/projects/dmt_jepa/configs/dmt_digitscenes_20e.py'"
    paths = [tmp_path / f'{number}.py' for number in range(2)]
    for path, name in zip(paths, names, strict=True):
        path.write_text(f'{base}\ncustom_imports = dict(imports=[{name!r}])\n')
    command = [EXECUTABLE, '-c', READ, *map(str, paths)]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=300)


def test_the_old_name_finds_what_is_there_and_no_more():
    code = 'import projects, importlib.util as u; print(u.find_spec("projects.none"))'
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    command = [sys.executable, '-c', code]
    found = subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    )
    assert found.stdout == 'None\n'
