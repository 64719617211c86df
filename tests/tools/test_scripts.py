"""The shell scripts parse, say how they are used, and pass their arguments on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
SCRIPTS = sorted(TOOLS.glob('*.sh')) + [TOOLS.parent / '.ci' / 'run']


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.name)
def test_syntax(script):
    subprocess.run(['bash', '-n', script], check=True)
    assert script.read_text().startswith('#!/usr/bin/env bash\n')
    assert 'set -euo pipefail' in script.read_text()


@pytest.mark.parametrize('name', ['dist_train', 'dist_test', 'slurm_train'])
def test_usage(name):
    result = subprocess.run(
        ['bash', TOOLS / f'{name}.sh'], capture_output=True, text=True
    )
    assert result.returncode == 2 and 'usage' in result.stderr


def call(tmp_path, program, script, *arguments, **environment):
    """Run a script with a program that prints its arguments, one per line."""
    fake = tmp_path / program
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    path = f'{tmp_path}:{os.environ["PATH"]}'
    result = subprocess.run(
        ['bash', TOOLS / script, *arguments],
        env={**os.environ, **environment, 'PATH': path},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.splitlines()


def test_dist_train_passes_arguments(tmp_path):
    options = ['--cfg-options', 'a="[1, 2]"', 'b=3']
    words = call(
        tmp_path, 'python', 'dist_train.sh', 'c.py', '8', *options,
        NNODES='2', NODE_RANK='1', PORT='1234', MASTER_ADDR='10.0.0.1',
    )  # fmt: skip
    assert words[:7] == [
        '-m', 'torch.distributed.run', '--nnodes=2', '--node_rank=1',
        '--master_addr=10.0.0.1', '--master_port=1234', '--nproc_per_node=8',
    ]  # fmt: skip
    assert words[7].endswith('tools/train.py')
    assert words[8:] == ['c.py', '--launcher', 'pytorch', *options]


def test_dist_test_passes_arguments(tmp_path):
    words = call(
        tmp_path, 'python', 'dist_test.sh', 'c.py', 'x.pth', '2', '--work-dir', 'w d'
    )
    assert '--nproc_per_node=2' in words
    at = words.index('c.py')
    assert words[at:] == ['c.py', 'x.pth', '--launcher', 'pytorch', '--work-dir', 'w d']


def test_slurm_train_passes_arguments(tmp_path):
    words = call(
        tmp_path, 'srun', 'slurm_train.sh', 'gpu', 'job', 'c.py', 'work', '--amp',
        GPUS='16', SRUN_ARGS='--time 1:00 --exclusive',
    )  # fmt: skip
    for word in ('-p', 'gpu', '--job-name=job', '--ntasks=16', '--ntasks-per-node=8'):
        assert word in words
    assert ' '.join(words).count('--time 1:00 --exclusive') == 1
    at = words.index('c.py')
    assert words[at:] == ['c.py', '--work-dir=work', '--launcher', 'slurm', '--amp',
        '--resume', 'auto',
    ]  # fmt: skip


@pytest.mark.parametrize(
    ('broken', 'message'),
    [
        (dict(PYTHON='no-such-python'), 'Python 3.10, 3.11 or 3.12 is needed'),
        (dict(PYTHON=sys.executable, CXX='no-such-compiler'), 'no C++ compiler'),
    ],
)
def test_setup_says_what_the_machine_lacks(tmp_path, broken, message):
    result = subprocess.run(
        ['bash', TOOLS / 'setup_env.sh'],
        env={**os.environ, **broken, 'DSEQ_VENV': str(tmp_path / 'venv')},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1 and message in result.stderr
    assert not (tmp_path / 'venv').exists()
