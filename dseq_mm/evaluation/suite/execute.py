"""Carrying out the runs with the tools of the package, one process per step."""

import fcntl
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

from mmengine.runner import find_latest_checkpoint

from ...utils.configs import PACKAGE
from .runs import RECORD, RESULT, Run, read_json, write_json
from .subject import Subject
from .tasks import TASKS

METRICS = 'metrics.json'
LOG = 'log.txt'


@dataclass
class Tools:
    """How the tools are called.

    Args:
        folder: Where train.py, test.py, knn.py and the dist_*.sh lie.
        gpus: Processes of each training and test.
        jobs: Runs at once.

    Attributes:
        stopped: Set by :meth:`stop`; nothing is started any more.
    """

    folder: Path
    gpus: int = 1
    jobs: int = 1
    stopped: bool = field(default=False, init=False)
    _processes: set = field(default_factory=set, init=False, repr=False)

    def commands(self, run: Run, subject: Subject) -> list[list[str]]:
        """The commands of a run.

        Args:
            run: The run.
            subject: The checkpoint.

        Returns:
            One for kNN; training and test otherwise.
        """
        options = list(run.options)
        metrics = ['--out', str(run.folder / METRICS)]
        if run.task == 'knn':
            what = [str(subject.path)]
            if run.random_init:
                what = ['--init', '--seed', str(run.seed)]
            options = ['--cfg-options', *options] if options else []
            return [self._python('knn', run.config, *what, *metrics, *options)]
        options = ['--cfg-options', *options, f'randomness.seed={run.seed}']
        train, test = run.folder / 'train', run.folder / 'test'
        start = ['--checkpoint', str(subject.path)]
        if run.random_init:
            start = ['--from-scratch']
        found = trained_checkpoint(train)
        resume = ['--resume', str(found)] if found else ['--resume']
        start += ['--work-dir', str(train), *resume, *options]
        trained = str(found or train / 'last.pth')
        measure = ['--work-dir', str(test), *metrics, *options]
        if self.gpus == 1:
            return [
                self._python('train', run.config, *start),
                self._python('test', run.config, trained, *measure),
            ]
        gpus = str(self.gpus)
        shell = [['bash', str(self.folder / f'dist_{n}.sh')] for n in ('train', 'test')]
        return [
            [*shell[0], run.config, gpus, *start],
            [*shell[1], run.config, trained, gpus, *measure],
        ]

    def _python(self, tool: str, *arguments: str) -> list[str]:
        return [sys.executable, str(self.folder / f'{tool}.py'), *arguments]

    def environment(self) -> dict[str, str]:
        """The environment of the commands.

        Returns:
            Ours, with this Python as ``python``, this package and not too many
            threads.
        """
        environment = dict(os.environ)
        paths = [str(Path(sys.executable).parent), environment.get('PATH')]
        environment['PATH'] = os.pathsep.join(filter(None, paths))
        if (PACKAGE.parent / 'tools').is_dir():  # a clone, maybe not installed
            paths = [str(PACKAGE.parent), environment.get('PYTHONPATH')]
            environment['PYTHONPATH'] = os.pathsep.join(filter(None, paths))
        if self.jobs > 1:
            share = max(1, len(os.sched_getaffinity(0)) // self.jobs)
            environment.setdefault('OMP_NUM_THREADS', str(share))
        return environment

    def call(self, command: Sequence[str], log: IO[bytes]) -> int:
        """Run a command to its end.

        Args:
            command: Program and arguments.
            log: Where it writes what it prints.

        Returns:
            Its exit status.
        """
        log.write(f'\n$ {shlex.join(command)}\n'.encode())
        log.flush()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=self.environment(),
        )
        self._processes.add(process)
        if self.stopped:
            process.terminate()
        try:
            return process.wait()
        finally:
            self._processes.discard(process)

    def stop(self) -> None:
        """End what is running; its runs stay unfinished, not failed."""
        self.stopped = True
        for process in list(self._processes):
            process.terminate()


def trained_checkpoint(folder: Path) -> Path | None:
    """Find the last checkpoint of a training, also after its folder was moved.

    Args:
        folder: Work dir of the training.

    Returns:
        Its path, None if there is none.
    """
    if not (folder / 'last_checkpoint').is_file():
        return None
    path = folder / Path(find_latest_checkpoint(str(folder))).name
    return path if path.is_file() else None


def execute(
    runs: Sequence[Run],
    subject: Subject,
    tools: Tools,
    versions: dict[str, str],
    say: Callable[[str], None],
    finished: Callable[[], None],
) -> bool:
    """Do what is not yet done.

    Args:
        runs: The runs.
        subject: The checkpoint.
        tools: How to call the tools.
        versions: What is installed, for the records.
        say: Takes one line for the user.
        finished: Called after every run, by one thread at a time.

    Returns:
        Whether all runs are done.
    """
    todo = []
    for run in runs:
        if (run.folder / RESULT).is_file():  # its fingerprint was checked
            say(f'{run.name}: done before, skipped')
        else:
            todo.append(run)
    if len(todo) < len(runs):
        finished()
    lock, good = threading.Lock(), True

    def one(run):
        done = _carry_out(run, subject, tools, versions, say)
        with lock:
            finished()
        return done

    pool = ThreadPoolExecutor(tools.jobs)
    try:
        for future in as_completed([pool.submit(one, run) for run in todo]):
            good = future.result() and good
    except BaseException:  # also from the keyboard
        tools.stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return good


def _carry_out(run, subject, tools, versions, say) -> bool:
    """Does one run; whatever fails becomes its status."""
    if tools.stopped:
        return False
    begun = time.monotonic()
    known = (run.folder / RECORD).is_file()
    facts = run.record() | dict(resumed=False, trained=False)
    run.folder.mkdir(parents=True, exist_ok=True)
    with (run.folder / LOG).open('ab') as log:
        if not _lock(log):
            say(f'{run.name}: another process is at it in {run.folder}')
            return False
        if (run.folder / RESULT).is_file():
            return True  # another process was faster
        say(f'{run.name}: {"resume" if known else "start"}, log in {run.folder / LOG}')
        if known:
            facts |= _state(run)
        write_json(run.folder / RECORD, facts | dict(status='running'))
        try:
            measured = _steps(run, subject, tools, log, facts)
            metrics = _metrics(run, measured)
        except (_Failure, OSError) as error:
            if not tools.stopped:
                where = f'{error}; see {run.folder / LOG}'
                failed = dict(status='failed', reason=str(error))
                write_json(run.folder / RECORD, facts | failed)
                say(f'{run.name}: failed: {where}')
            return False
        minutes = round((time.monotonic() - begun) / 60, 2)
        result = facts | dict(
            status='done',
            metrics=metrics,
            measured=measured,
            date=datetime.now(timezone.utc).isoformat(timespec='seconds'),
            minutes=minutes,
            versions=versions,
        )
        write_json(run.folder / RESULT, result)
    shown = ', '.join(f'{key} {value:.2f}' for key, value in metrics.items())
    say(f'{run.name}: done in {minutes:.1f} min: {shown}')
    return True


class _Failure(Exception):
    """A run cannot be finished; the text says why."""


def _state(run: Run) -> dict:
    """How far an earlier call came with a run."""
    before = read_json(run.folder / RECORD)
    trained = before.get('trained', False)
    going_on = not trained and trained_checkpoint(run.folder / 'train') is not None
    return dict(trained=trained, resumed=before.get('resumed', False) or going_on)


def _steps(
    run: Run, subject: Subject, tools: Tools, log: IO[bytes], facts: dict
) -> dict:
    """Train and test, or kNN; returns what the tool measured."""
    path = run.folder / METRICS
    path.unlink(missing_ok=True)
    steps = len(tools.commands(run, subject))
    for step in range(steps):
        # anew: the checkpoint to test is known after the training
        command = tools.commands(run, subject)[step]
        name = 'kNN' if steps == 1 else ('training', 'test')[step]
        status = tools.call(command, log)
        if status:
            raise _Failure(f'{name} ended with status {status}{_last_line(run)}')
        if step + 1 < steps and trained_checkpoint(run.folder / 'train') is None:
            raise _Failure(f'{name} left no checkpoint in {run.folder / "train"}')
        if name == 'training':
            facts['trained'] = True
            write_json(run.folder / RECORD, facts | dict(status='running'))
    try:
        return read_json(path)
    except (FileNotFoundError, ValueError) as error:
        raise _Failure(f'no metrics: {error}') from error


def _metrics(run: Run, found: dict) -> dict:
    """The metrics of the table, in percent."""
    metrics = {}
    for metric in TASKS[run.task].metrics:
        value = found.get(metric.key)
        if not isinstance(value, int | float) or not value >= 0:
            raise _Failure(f'{metric.key} is {value}; measured were {found}')
        metrics[metric.key] = metric.scale * value
    return metrics


def _last_line(run: Run) -> str:
    text = (run.folder / LOG).read_bytes()[-4000:].decode(errors='replace')
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f' ({lines[-1][:200]})' if lines else ''


def _lock(log: IO[bytes]) -> bool:
    """Locks a log for as long as we or a command that writes to it live."""
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    return True
