"""What a training prints by default, and with ``--verbose``."""

import subprocess
from pathlib import Path

import pytest

from tests.end_to_end.runs import CONFIGS, write_images
from tests.quick_python import EXECUTABLE

#: In the log file of any pre-training; no person reads it in passing.
DETAILS = (
    'paramwise_options',
    'System environment',
    'Config:',
    'Hooks will be',
    'init',
)
#: In both; the warning is ours: the config is for 64 images at a time.
READ = ('Network: DSeqJEPA', 'Data: train: 16 images', 'The learning rate is for 64')


def train(folder, *arguments, images='images'):
    """Train two steps; the exit status, what was printed, the log file's text."""
    work = folder / 'run'
    options = [
        'custom_hooks=[]', 'train_cfg.max_epochs=1', 'param_scheduler.0.end=1',
        'default_hooks.logger.interval=1', 'train_dataloader.batch_size=8',
        f'train_dataloader.dataset.dataset.data_root={folder / images}',
        'train_dataloader.dataset.dataset.data_prefix=',
    ]  # fmt: skip
    command = [EXECUTABLE, 'tools/train.py', 'dseq_digitscenes_20e', *arguments]
    command += ['--work-dir', str(work), '--cfg-options', *options]
    run = dict(cwd=CONFIGS.parent, capture_output=True, text=True)
    result = subprocess.run(command, **run)
    (log,) = work.glob('*/*.log')
    return result.returncode, result.stdout, result.stderr, log.read_text()


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with images in it."""
    write_images(tmp_path / 'images')
    return tmp_path


def test_a_few_lines_before_the_first_loss(folder):
    status, shown, errors, log = train(folder)
    assert status == 0 and not errors
    lines = shown.splitlines()
    first = next(i for i, line in enumerate(lines) if 'loss: ' in line)
    assert first < 25, lines[:first]
    assert len(lines) < 30, lines
    for text in DETAILS:
        assert text not in shown and text in log
    for text in READ:
        assert text in shown and text in log
    (path,) = (folder / 'run').glob('*/*.log')
    assert str(path) in shown


def test_verbose_shows_what_the_log_file_holds(folder):
    status, shown, _, log = train(folder, '--verbose')
    assert status == 0
    for text in (*DETAILS, *READ):
        assert text in log
        # mmengine writes how weights were initialised straight to the file
        assert text in shown or text == 'init', text


def test_a_users_error_is_not_buried_under_the_config(folder):
    status, shown, errors, _ = train(folder, images='none')
    assert status == 2 and len(shown.splitlines()) < 5
    assert len(errors.splitlines()) == 1 and 'does not exist' in errors
