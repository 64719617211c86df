"""The shell scripts parse, say how they are used, and pass their arguments on."""

import os
import re
import signal
import subprocess
import sys
import time
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
        '-m', 'dseq_mm.cli.torchrun', '--nnodes=2', '--node_rank=1',
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
    work = str(tmp_path / 'work')
    words = call(
        tmp_path, 'srun', 'slurm_train.sh', 'gpu', 'job', 'c.py', work, '--amp',
        GPUS='16', SRUN_ARGS='--time 1:00 --exclusive',
    )  # fmt: skip
    for word in ('-p', 'gpu', '--job-name=job', '--ntasks=16', '--ntasks-per-node=8'):
        assert word in words
    assert ' '.join(words).count('--time 1:00 --exclusive') == 1
    at = words.index('c.py')
    assert words[at:] == [
        'c.py', f'--work-dir={work}', '--launcher', 'slurm', '--amp',
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
        ['bash', TOOLS / 'setup_env.sh', '--for-tests'],
        env={**os.environ, **broken, 'DSEQ_VENV': str(tmp_path / 'venv')},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1 and message in result.stderr
    assert not (tmp_path / 'venv').exists()


def fake(tmp_path, name, text):
    path = tmp_path / name
    path.write_text('#!/usr/bin/env bash\n' + text)
    path.chmod(0o755)
    return {**os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}'}


# What dseq_mm.cli.torchrun is to the script: a process with training processes below.
AGENT = """
trainer() {
    trap 'printf "75 SIGUSR1" > "$DSEQ_MM_STATUS"; exit 75' USR1
    touch "$HERE/started"
    for _ in $(seq 300); do sleep 0.1; done
}
trap 'echo killed > "$HERE/agent"; exit 1' TERM
HERE=$(dirname "$0")
trainer &
wait
exit 1  # whatever its processes ended with
"""


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGUSR1', 'SIGHUP'])
def test_dist_train_passes_signals_to_the_training(tmp_path, name):
    """Not to its agent, which would kill it after 30 seconds."""
    environment = fake(tmp_path, 'python', AGENT)
    script = subprocess.Popen(
        ['bash', TOOLS / 'dist_train.sh', 'c.py', '1'], env=environment
    )
    try:
        wait_for(tmp_path / 'started')
        script.send_signal(getattr(signal, name))
        assert script.wait(20) == 75
        assert not (tmp_path / 'agent').exists()
    finally:
        script.kill()


def test_dist_train_has_the_status_of_a_failure(tmp_path):
    environment = fake(tmp_path, 'python', 'exit 3')
    command = ['bash', TOOLS / 'dist_train.sh', 'c.py', '1']
    assert subprocess.run(command, env=environment).returncode == 3


def wait_for(path):
    for _ in range(200):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f'{path} did not come')


# Interrupted the first time, done the second time; srun's status is that of a kill.
SRUN = """
echo "$*" >> "$(dirname "$0")/calls"
if [ "$(wc -l < "$(dirname "$0")/calls")" = 1 ]; then
    printf '75 %s' "${SIGNAL:-SIGUSR1}" > "$DSEQ_MM_STATUS"
    exit 137
fi
"""


@pytest.mark.parametrize('given', [(), ('--resume', 'epoch_3.pth')])
def test_slurm_train_queues_an_interrupted_training_again(tmp_path, given):
    environment = fake(tmp_path, 'srun', SRUN)
    command = ['bash', TOOLS / 'slurm_train.sh', 'gpu', 'job', 'c.py', tmp_path / 'w']
    subprocess.run([*command, *given], env=environment, check=True)
    first, second = (tmp_path / 'calls').read_text().splitlines()
    assert '--signal=USR1@120' in first and second.endswith('--resume auto')
    # what the user names counts the first time alone: the last one wins
    assert first.endswith(' '.join(given) if given else '--resume auto')


def test_slurm_train_requeues_its_batch_job(tmp_path):
    fake(tmp_path, 'scontrol', 'echo "$*" > "$(dirname "$0")/requeued"')
    environment = fake(tmp_path, 'srun', SRUN) | dict(SLURM_JOB_ID='42')
    command = ['bash', TOOLS / 'slurm_train.sh', 'gpu', 'job', 'c.py', tmp_path / 'w']
    given = ['--resume', 'epoch_3.pth']
    assert subprocess.run([*command, *given], env=environment).returncode == 75
    assert (tmp_path / 'requeued').read_text() == 'requeue 42\n'
    # Slurm runs the script again, with the same arguments
    environment['SLURM_RESTART_COUNT'] = '1'
    subprocess.run([*command, *given], env=environment, check=True)
    last = (tmp_path / 'calls').read_text().splitlines()[-1]
    assert last.endswith('--resume epoch_3.pth --resume auto')


@pytest.mark.parametrize(
    ('state', 'again'), [('CANCELLED', False), ('PREEMPTED', True)]
)
def test_slurm_train_lets_a_cancelled_job_be(tmp_path, state, again):
    """Slurm sends SIGTERM for both."""
    scontrol = f'echo "$*" >> "$(dirname "$0")/asked"; echo "JobState={state} Reason=x"'
    fake(tmp_path, 'scontrol', scontrol)
    environment = fake(tmp_path, 'srun', SRUN)
    environment |= dict(SLURM_JOB_ID='42', SIGNAL='SIGTERM')
    command = ['bash', TOOLS / 'slurm_train.sh', 'gpu', 'job', 'c.py', tmp_path / 'w']
    assert subprocess.run(command, env=environment).returncode == 75
    assert ('requeue 42' in (tmp_path / 'asked').read_text()) == again
    # on a login node there is no state to ask for
    (tmp_path / 'calls').unlink()
    del environment['SLURM_JOB_ID']
    assert subprocess.run(command, env=environment).returncode == 75
    assert len((tmp_path / 'calls').read_text().splitlines()) == 1


def test_slurm_train_does_not_queue_a_failure_again(tmp_path):
    environment = fake(tmp_path, 'srun', 'echo >> "$(dirname "$0")/calls"; exit 3')
    (tmp_path / 'w').mkdir()
    (tmp_path / 'w' / '.status').write_text('75')  # of an earlier time
    command = ['bash', TOOLS / 'slurm_train.sh', 'gpu', 'job', 'c.py', tmp_path / 'w']
    assert subprocess.run(command, env=environment).returncode == 3
    assert len((tmp_path / 'calls').read_text().splitlines()) == 1


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh'])
def test_one_machine_takes_a_free_port(tmp_path, script):
    arguments = ['c.py', 'x.pth', '2'] if 'test' in script else ['c.py', '2']
    alone = call(tmp_path, 'python', script, *arguments, PORT='', NNODES='')
    assert '--rdzv_endpoint=127.0.0.1:0' in alone
    named = call(tmp_path, 'python', script, *arguments, PORT='1234', NNODES='')
    assert '--master_port=1234' in named and not any('rdzv' in w for w in named)
    several = call(tmp_path, 'python', script, *arguments, PORT='', NNODES='2')
    assert '--master_port=29500' in several


@pytest.mark.parametrize(
    ('script', 'arguments', 'environment', 'named'),
    [
        ('dist_train.sh', ['c.py', 'two'], {}, "GPUS is.*'two'"),
        ('dist_train.sh', ['c.py', '0'], {}, "GPUS is.*'0'"),
        ('dist_train.sh', ['c.py', '2'], dict(PORT='http'), "PORT is.*'http'"),
        ('dist_train.sh', ['c.py', '2'], dict(NNODES='x'), "NNODES is.*'x'"),
        ('dist_test.sh', ['c.py', 'x.pth', '-1'], {}, "GPUS is.*'-1'"),
        ('slurm_train.sh', list('abcd'), dict(GPUS='x'), "GPUS is.*'x'"),
    ],
)
def test_scripts_refuse_what_is_no_number(
    tmp_path, script, arguments, environment, named
):
    result = subprocess.run(
        ['bash', TOOLS / script, *arguments], cwd=tmp_path,
        env=os.environ | environment, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 2 and result.stderr.count('\n') == 1
    assert re.search(named, result.stderr)


def test_more_processes_than_the_machine_has_room_for_are_refused(tmp_path):
    environment = {'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}'}
    result = subprocess.run(
        ['bash', TOOLS / 'dist_train.sh', 'c.py', '9999'], cwd=tmp_path,
        env=os.environ | environment, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 2 and result.stderr.count('\n') == 1
    assert 'GPUS is 9999: the number of GPUs here is' in result.stderr


@pytest.mark.parametrize(
    ('environment', 'port'),
    [
        (dict(SLURM_JOB_ID='123456'), '23456'),
        (dict(SLURM_JOB_ID='123456', MASTER_PORT='7'), '7'),
        (dict(SLURM_JOB_ID='123456', MASTER_PORT='7', PORT='8'), '8'),
    ],
)
def test_slurm_jobs_have_ports_of_their_own(tmp_path, environment, port):
    clean = {k: v for k, v in os.environ.items() if k not in ('PORT', 'MASTER_PORT')}
    known = fake(tmp_path, 'srun', 'echo "$MASTER_PORT"')
    result = subprocess.run(
        ['bash', TOOLS / 'slurm_train.sh', 'gpu', 'job', 'c.py', tmp_path / 'w'],
        env={**clean, 'PATH': known['PATH'], **environment},
        capture_output=True, text=True,
    )  # fmt: skip
    assert result.stdout.strip() == port, result.stderr
