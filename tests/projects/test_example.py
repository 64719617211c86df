"""The example as it stands, and as a copy outside of the clone."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from projects.example.test_example import *  # noqa: F403
from tests.end_to_end.runs import write_images
from tests.quick_python import EXECUTABLE

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / 'projects' / 'example'
BASE = 'ijepa_digitscenes_20e.py'
#: What a copy has to change, as docs/extend.md says.
CHANGES = {
    f"'../../../configs/{BASE}'": f"'dseq_mm::{BASE}'",
    "'dseq_mm.projects.example'": "'my_method'",
}


def test_it_is_short():
    files = list(EXAMPLE.rglob('*.py'))
    assert len(files) == 4
    assert sum(len(path.read_text().splitlines()) for path in files) < 120


def test_a_copy_trains_from_outside(tmp_path):
    copy = tmp_path / 'my_method'
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns('__pycache__'))
    (config,) = (copy / 'configs').glob('*.py')
    text = config.read_text()
    for old, new in CHANGES.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
        assert old in (ROOT / 'docs' / 'extend.md').read_text()
        assert new in (ROOT / 'docs' / 'extend.md').read_text()
    config.write_text(text)
    command = [EXECUTABLE, str(ROOT / 'tools' / 'train.py'), str(config)]
    command += ['--data', str(write_images(tmp_path / 'images', 16))]
    command += ['--work-dir', str(tmp_path / 'work'), '--cfg-options']
    command += ['train_cfg.max_epochs=1', 'train_dataloader.batch_size=8']
    command += ['default_hooks.logger.interval=1', 'custom_hooks=None']
    environment = {**os.environ, 'PYTHONPATH': f'{tmp_path}{os.pathsep}{ROOT}'}
    environment |= dict(OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='')
    ran = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    (log,) = (tmp_path / 'work').rglob('scalars.json')
    steps = [json.loads(line) for line in log.read_text().splitlines()]
    steps = [step for step in steps if 'spread' in step]
    assert [step['step'] for step in steps] == [1, 2]
    for step in steps:
        assert 0 < step['latent'] < step['loss'] and step['spread'] > 0
    assert (tmp_path / 'work' / 'epoch_1.pth').exists()
