"""Carrying out the runs with the tools of the package, one process per step."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import IO

from ..launcher import LOG, Launcher, last_line, lock, trained_checkpoint
from .runs import RECORD, RESULT, Run, read_json, write_json
from .subject import Subject
from .tasks import TASKS

METRICS = 'metrics.json'


@dataclass
class Tools(Launcher):
    """The commands of a run.

    Args:
        gpus: Processes of each training and test.
    """

    gpus: int = 1

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
            return [self.python('knn', run.config, *what, *metrics, *options)]
        options = ['--cfg-options', *options, f'randomness.seed={run.seed}']
        train, test = run.folder / 'train', run.folder / 'test'
        start = ['--checkpoint', str(subject.path)]
        if run.random_init:
            start = ['--from-scratch']
        found = trained_checkpoint(train)
        resume = ['--resume', str(found) if found else 'auto']
        start += ['--work-dir', str(train), *resume, *options]
        trained = str(found or train / 'last.pth')
        measure = ['--work-dir', str(test), *metrics, *options]
        if self.gpus == 1:
            return [
                self.python('train', run.config, *start),
                self.python('test', run.config, trained, *measure),
            ]
        gpus = str(self.gpus)
        shell = [['bash', str(self.folder / f'dist_{n}.sh')] for n in ('train', 'test')]
        return [
            [*shell[0], run.config, gpus, *start],
            [*shell[1], run.config, trained, gpus, *measure],
        ]


def check_gpus(gpus: int, count: int) -> None:
    """Make sure that there are as many GPUs as processes; without any, all run on CPUs.

    Args:
        gpus: Number of processes of each run.
        count: Number of GPUs of this machine.

    Raises:
        ValueError: If there are fewer.
    """
    if 0 < count < gpus:
        raise ValueError(f'--gpus {gpus}: this machine shows {count}')


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
    turn = threading.Lock()

    def one(run):
        """Do a run and have the table written anew."""
        done = _carry_out(run, subject, tools, versions, say)
        with turn:
            finished()
        return done

    return tools.side_by_side(one, todo)


def _carry_out(run, subject, tools, versions, say) -> bool:
    """Does one run; whatever fails becomes its status."""
    if tools.stopped:
        return False
    begun = time.monotonic()
    known = (run.folder / RECORD).is_file()
    facts = run.record() | dict(resumed=False, trained=False)
    run.folder.mkdir(parents=True, exist_ok=True)
    with (run.folder / LOG).open('ab') as log:
        if not lock(log):
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
            raise _Failure(
                f'{name} ended with status {status}{last_line(run.folder / LOG)}'
            )
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
