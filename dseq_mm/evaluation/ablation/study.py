"""Carrying out the trials of a study with the tools, one process per step.

A trial's folder holds ``run.json`` from its start on, ``result.json`` once it is done,
``log.txt``, ``metrics.json`` or the folder ``evaluate`` of the measurement, and the
folder ``train`` of the training.
"""

import math
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from queue import Queue
from typing import IO

from ...utils.configs import BUDGET_VARIABLE
from ..launcher import LOG, Launcher, last_line, lock, trained_checkpoint
from ..suite.runs import RECORD, RESULT, read_json, write_json
from .tables import BUDGETS
from .trials import METRICS, TRAIN, Trial, problem_of

EVALUATE = 'evaluate'


class Study(Launcher):
    """Carries trials out with the tools.

    Args:
        folder: Where the tools lie.
        jobs: Trials at once, where there are no devices.
        devices: What each trial at a time sees, as for ``CUDA_VISIBLE_DEVICES``:
            ``('0', '1')`` are two at once, ``('0,1',)`` is one of two processes.
    """

    def __init__(
        self, folder: Path, jobs: int = 1, devices: Sequence[str] = ()
    ) -> None:
        super().__init__(folder, jobs=len(devices) or jobs)
        self._places: Queue = Queue()
        for place in devices or [None] * self.jobs:
            self._places.put(place)

    def commands(self, trial: Trial) -> list[list[str]]:
        """The commands of a trial.

        Args:
            trial: The trial.

        Returns:
            Training, if any, and measurement. The checkpoint of the measurement is
            known once the training is done.
        """
        options = list(trial.options)
        found = trained_checkpoint(trial.folder / TRAIN)
        source = [str(found or trial.folder / TRAIN / 'last.pth')]
        if trial.start == 'pixels':
            source = ['--raw-pixels']
        elif trial.start == 'init':
            source = ['--init', '--seed', str(trial.seed)]
        measure = self._measure(trial, source)
        if trial.start != 'train':
            return [measure]
        resume = ['--resume', str(found) if found else 'auto']
        arguments = ['--work-dir', str(trial.folder / TRAIN), *resume]
        arguments += ['--auto-scale-lr', '--cfg-options', *options]
        arguments.append(f'randomness.seed={trial.seed}')
        if trial.processes == 1:
            return [self.python('train', trial.config, *arguments), measure]
        shell = ['bash', str(self.folder / 'dist_train.sh'), trial.config]
        return [[*shell, str(trial.processes), *arguments], measure]

    def _measure(self, trial: Trial, source: list[str]) -> list[str]:
        """The command of the measurement."""
        tasks = BUDGETS[trial.budget].tasks
        if not tasks:
            out = ['--out', str(trial.folder / METRICS)]
            options = ['--cfg-options', *trial.options] if trial.options else []
            return self.python('knn', trial.config, *source, '--linear', *out, *options)
        arguments = ['--tasks', tasks, '--out', str(trial.folder / EVALUATE)]
        arguments += ['--gpus', str(trial.processes)]
        if trial.probe:
            arguments += ['--cfg-options', *trial.probe]
        return self.python('evaluate', *source, *arguments)

    def carry_out(
        self,
        trials: Sequence[Trial],
        versions: dict[str, str],
        say: Callable[[str], None],
        finished: Callable[[], None],
    ) -> bool:
        """Do what is not yet done.

        Args:
            trials: The trials.
            versions: What is installed, for the records.
            say: Takes one line for the user.
            finished: Called after every trial, by one thread at a time.

        Returns:
            Whether all trials are done.
        """
        todo = [t for t in trials if not (t.folder / RESULT).is_file()]
        if len(todo) < len(trials):
            say(f'{len(trials) - len(todo)} of {len(trials)} runs were done before.')
        turn = threading.Lock()

        def one(trial: Trial) -> bool:
            """Do a trial on the next free device and have the tables written anew."""
            device = self._places.get()
            try:
                done = not self.stopped and self._one(trial, device, versions, say)
            finally:
                self._places.put(device)
            with turn:
                finished()
            return done

        finished()
        return self.side_by_side(one, todo)

    def _one(self, trial: Trial, device, versions, say) -> bool:
        """Do one trial; whatever fails becomes its status."""
        trial.folder.mkdir(parents=True, exist_ok=True)
        path = trial.folder / LOG
        with path.open('ab') as log:
            if not lock(log):
                say(f'{trial.words}: another process is at it in {trial.folder}')
                return False
            # another call may have been here since the trials were planned
            if problem := problem_of(trial):
                say(f'{trial.words}: {problem}')
                return False
            if (trial.folder / RESULT).is_file():
                return True
            say(f'{trial.words}: start, log in {path}')
            facts = trial.record() | _before(trial)
            problem = self._steps(trial, device, log, facts)
            if self.stopped and problem:
                return False
            metrics = {}
            if not problem:
                problem, metrics = read_metrics(trial)
            if problem:
                write_json(
                    trial.folder / RECORD, facts | dict(status='failed', reason=problem)
                )
                say(f'{trial.words}: failed: {problem}; see {path}')
                return False
            facts |= dict(
                status='done',
                metrics=metrics,
                date=datetime.now(timezone.utc).isoformat(timespec='seconds'),
                versions=versions,
            )
            write_json(trial.folder / RESULT, facts)
        say(f'{trial.words}: done, {facts["minutes"]:.1f} min of training')
        return True

    def _steps(self, trial: Trial, device, log: IO[bytes], facts: dict) -> str:
        """Train and measure; returns what went wrong, empty if nothing."""
        (trial.folder / METRICS).unlink(missing_ok=True)
        steps = len(self.commands(trial))
        for step in range(steps):
            last = step == steps - 1
            write_json(trial.folder / RECORD, facts | dict(status='running'))
            command = self.commands(trial)[step]
            begun = time.monotonic()
            status = self.call(command, log, _variables(trial, device))
            if not last:  # a training that was interrupted is timed by its parts
                facts['minutes'] += (time.monotonic() - begun) / 60
                write_json(trial.folder / RECORD, facts | dict(status='running'))
            if status:
                name = 'measurement' if last else 'training'
                said = last_line(trial.folder / LOG)
                return f'{name} ended with status {status}{said}'
        return ''


def check_devices(
    devices: Sequence[str], count: int, visible: str | None = None
) -> None:
    """Make sure that trials get the devices that the user means.

    Args:
        devices: See :class:`Study`.
        count: Number of GPUs.
        visible: ``CUDA_VISIBLE_DEVICES`` of this process.

    Raises:
        ValueError: If a device does not exist, stands there twice, or the entries name
            different numbers of devices.
    """
    allowed = [str(number) for number in range(count)]
    if visible is not None:
        allowed = [name.strip() for name in visible.split(',') if name.strip()]
    named = [name for entry in devices for name in entry.split(',')]
    unknown = [name for name in named if name not in allowed]
    if unknown:
        raise ValueError(
            f'--devices {" ".join(devices)}: there is no GPU '
            f'{", ".join(map(repr, unknown))}; there are: '
            f'{", ".join(allowed) or "none"}. Without GPUs use --jobs.'
        )
    if len(set(named)) < len(named):
        raise ValueError(f'--devices {" ".join(devices)}: name each GPU once')
    if len({entry.count(',') for entry in devices}) > 1:
        raise ValueError(
            f'--devices {" ".join(devices)}: give every run as many GPUs, since batch '
            'and learning rate follow their number'
        )


def read_metrics(trial: Trial) -> tuple[str, dict[str, float]]:
    """What the tools measured.

    Args:
        trial: A trial whose measurement has ended.

    Returns:
        What is wrong with it, empty if nothing; and name to value.
    """
    try:
        if not BUDGETS[trial.budget].tasks:
            metrics = read_json(trial.folder / METRICS)
        else:
            rows = read_json(trial.folder / EVALUATE / 'table.json')['rows']
            names = {'knn': '{key}', 'linear': 'linear_last4'}
            metrics = {names[r['task']].format(**r): r['mean'] for r in rows}
    except (OSError, ValueError, KeyError) as error:
        return f'no metrics: {error!r}', {}
    for name, value in metrics.items():
        if not isinstance(value, int | float) or not math.isfinite(value):
            return f'{name} is {value}', {}
    return '', metrics


def _before(trial: Trial) -> dict:
    """What earlier calls left: time spent, and whether a training goes on."""
    path = trial.folder / RECORD
    known = read_json(path) if path.is_file() else {}
    going_on = trained_checkpoint(trial.folder / TRAIN) is not None
    resumed = known.get('resumed', False) or going_on
    return dict(minutes=known.get('minutes', 0.0), resumed=resumed)


def _variables(trial: Trial, device: str | None) -> Mapping[str, str]:
    """Environment of a command: budget, devices, a port that nobody has."""
    variables = {BUDGET_VARIABLE: trial.budget}
    if device is not None:
        variables['CUDA_VISIBLE_DEVICES'] = device
    if trial.processes > 1:
        with socket.socket() as server:
            server.bind(('127.0.0.1', 0))
            variables['PORT'] = str(server.getsockname()[1])
    return variables
