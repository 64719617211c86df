"""The projects' configs in a program that has not imported ``dseq_mm``."""

import os
import subprocess
from pathlib import Path

from tests.quick_python import EXECUTABLE

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(ROOT.glob('projects/*/configs/*.py'))
READ = """
import sys
from mmengine.config import Config

for path in sys.argv[1:]:
    assert Config.fromfile(path).model.type, path
"""


def test_another_program_reads_them(tmp_path):
    command = [EXECUTABLE, '-c', READ, *map(str, CONFIGS)]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=300)
    assert len({path.parts[-3] for path in CONFIGS}) == 7
