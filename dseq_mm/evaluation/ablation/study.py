"""The runs of a study: a training and its measurement, each in a folder of its own.

A run's folder holds ``run.json`` from its start on, ``result.json`` once it is done,
``log.txt``, ``metrics.json`` and the folder ``train`` of the training. A run belongs to
a config and a seed, not to a table, so tables share runs.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from queue import Queue
from typing import IO

from mmengine.config import Config

from ...utils.configs import PACKAGE, resolve_config
from ..launcher import LOG, Launcher, last_line, lock, trained_checkpoint
from ..suite.protocol import add_options, data_builds, settings_text
from ..suite.runs import ANOTHER, RECORD, RESULT, read_json, write_json
from ..suite.tasks import TASKS
from .tables import BUDGETS, VARIABLE, Row, Table

METRICS = 'metrics.json'


@dataclass(frozen=True)
class Trial:
    """One config with one seed.

    Args:
        name: Name of the row's folder.
        start: See :class:`Row`.
        config: Path of the config.
        budget: Name of the budget.
        seed: Of weights, masks and augmentation; None where none has an effect.
        options: ``key=value`` texts for the config.
        settings: Checksum of the config with its options, and of the data's build.
        folder: Where it is done.
    """

    name: str
    start: str
    config: str
    budget: str
    seed: int | None
    options: tuple[str, ...]
    settings: str
    folder: Path

    @property
    def words(self) -> str:
        """What it is called in messages."""
        return self.name + ('' if self.seed is None else f', seed {self.seed}')

    def record(self) -> dict:
        """Everything that decides its result, for JSON."""
        facts = asdict(self) | dict(config=Path(self.config).stem)
        return {key: value for key, value in facts.items() if key != 'folder'}


def plan_trials(
    tables: Sequence[Table],
    budget: str,
    seeds: Sequence[int],
    options: Sequence[str],
    out: Path,
) -> tuple[list[Trial], list[str]]:
    """Find out what is to be done.

    Args:
        tables: The tables.
        budget: Key of :data:`BUDGETS`.
        seeds: Seeds of each row.
        options: ``key=value`` texts for all configs.
        out: Folder of the study.

    Returns:
        The trials, each once, all rows of a seed before those of the next; and lines
        that say which rows have no config for this budget.

    Raises:
        ValueError: If ``out`` holds the same runs made with other settings.
    """
    rows = {row.name: row for table in tables for row in table.rows}
    configs, notes = {}, []
    for name, row in rows.items():
        try:
            configs[name] = _find_config(row, budget)
        except ValueError:
            notes.append(f'Left out: {row.label} has no config for {budget}.')
    trials = []
    for seed in seeds:
        for name, config in configs.items():
            row = rows[name]
            drawn = row.start != 'pixels'
            if not drawn and seed != seeds[0]:
                continue
            trials.append(
                Trial(
                    name=name,
                    start=row.start,
                    config=config,
                    budget=budget,
                    seed=seed if drawn else None,
                    options=tuple(options),
                    settings=_settings(config, budget, options),
                    folder=out / name / (f'seed{seed}' if drawn else 'once'),
                )
            )
    for trial in trials:
        _check_folder(trial)
    return trials, notes


def _find_config(row: Row, budget: str) -> str:
    """Path of a row's config."""
    name = row.config.format(budget=budget)
    in_clone = PACKAGE.parent / name
    return str(in_clone) if in_clone.is_file() else resolve_config(name)


def _settings(config: str, budget: str, options: Sequence[str]) -> str:
    """Checksum of all that the result depends on but the seed."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = budget
    try:
        cfg = Config.fromfile(config)
    finally:
        os.environ.pop(VARIABLE)
        if before is not None:
            os.environ[VARIABLE] = before
    add_options(cfg, options)
    data = list(data_builds(TASKS['knn'], cfg).values())
    return sha256(f'{settings_text(cfg)} {data}'.encode()).hexdigest()


def _check_folder(trial: Trial) -> None:
    path = trial.folder / RECORD
    if path.is_file() and read_json(path).get('settings') != trial.settings:
        raise ValueError(
            f'{trial.folder} was made with another config, other options or other '
            f'data. {ANOTHER}'
        )


class Study(Launcher):
    """Carries trials out with the tools.

    With ``devices``, each entry serves one run at a time, with as many processes as it
    names devices: ``('0', '1')`` are two runs side by side, ``('0,1',)`` is one run of
    two processes.
    """

    def __init__(self, folder: Path, jobs: int = 1, devices: Sequence[str] = ()):
        super().__init__(folder, jobs=len(devices) or jobs)
        self._places: Queue = Queue()
        for number in range(self.jobs):
            self._places.put((number, devices[number] if devices else None))

    def commands(self, trial: Trial, processes: int = 1) -> list[list[str]]:
        """The commands of a trial.

        Args:
            trial: The trial.
            processes: Of its training.

        Returns:
            Training, if any, and measurement. The measurement is known once the
            training is done.
        """
        options = list(trial.options)
        plain = ['--cfg-options', *options] if options else []
        out = ['--out', str(trial.folder / METRICS)]
        train = trial.folder / 'train'
        if trial.start == 'pixels':
            source = ['--raw-pixels']
        elif trial.start == 'init':
            source = ['--init', '--seed', str(trial.seed)]
        else:
            source = [str(trained_checkpoint(train) or train / 'last.pth')]
        measure = self.python('knn', trial.config, *source, '--linear', *out, *plain)
        if trial.start != 'train':
            return [measure]
        tasks = BUDGETS[trial.budget].tasks
        if tasks:
            results = ['--out', str(trial.folder / 'evaluate')]
            gpus = ['--gpus', str(processes)]
            measure = self.python(
                'evaluate', *source, '--tasks', tasks, *results, *gpus
            )
        arguments = ['--work-dir', str(train), '--resume', '--auto-scale-lr']
        arguments += ['--cfg-options', *options, f'randomness.seed={trial.seed}']
        if processes == 1:
            return [self.python('train', trial.config, *arguments), measure]
        shell = ['bash', str(self.folder / 'dist_train.sh'), trial.config]
        return [[*shell, str(processes), *arguments], measure]

    def carry_out(
        self,
        trials: Sequence[Trial],
        say: Callable[[str], None],
        finished: Callable[[], None],
    ) -> bool:
        """Do what is not yet done.

        Args:
            trials: The trials.
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
            place = self._places.get()
            try:
                done = not self.stopped and self._one(trial, place, say)
            finally:
                self._places.put(place)
            with turn:
                finished()
            return done

        finished()
        return self.side_by_side(one, todo)

    def _one(self, trial: Trial, place: tuple, say: Callable[[str], None]) -> bool:
        """Do one trial at a place; whatever fails becomes its status."""
        trial.folder.mkdir(parents=True, exist_ok=True)
        path = trial.folder / LOG
        with path.open('ab') as log:
            if not lock(log):
                say(f'{trial.words}: another process is at it in {trial.folder}')
                return False
            say(f'{trial.words}: start, log in {path}')
            facts = trial.record() | dict(minutes=_minutes_before(trial))
            problem = self._steps(trial, place, log, facts)
            if self.stopped and problem:
                return False
            if problem:
                facts |= dict(status='failed', reason=problem)
                write_json(trial.folder / RECORD, facts)
                say(f'{trial.words}: failed: {problem}; see {path}')
                return False
            facts |= dict(
                status='done',
                metrics=read_metrics(trial),
                date=datetime.now(timezone.utc).isoformat(timespec='seconds'),
            )
            write_json(trial.folder / RESULT, facts)
        say(f'{trial.words}: done, {facts["minutes"]:.1f} min of training')
        return True

    def _steps(self, trial: Trial, place: tuple, log: IO[bytes], facts: dict) -> str:
        """Train and measure; returns what went wrong, empty if nothing."""
        number, devices = place
        processes = 1 if devices is None else devices.count(',') + 1
        variables = {VARIABLE: trial.budget, 'PORT': str(29500 + number)}
        if devices is not None:
            variables['CUDA_VISIBLE_DEVICES'] = devices
        steps = len(self.commands(trial))
        for step in range(steps):
            last = step == steps - 1
            write_json(trial.folder / RECORD, facts | dict(status='running'))
            command = self.commands(trial, processes)[step]
            begun = time.monotonic()
            status = self.call(command, log, variables)
            if not last:  # a training that was interrupted is timed by its parts
                facts['minutes'] += (time.monotonic() - begun) / 60
                write_json(trial.folder / RECORD, facts | dict(status='running'))
            if status:
                name = 'measurement' if last else 'training'
                return (
                    f'{name} ended with status {status}{last_line(trial.folder / LOG)}'
                )
        return ''


def _minutes_before(trial: Trial) -> float:
    path = trial.folder / RECORD
    return read_json(path).get('minutes', 0.0) if path.is_file() else 0.0


def read_metrics(trial: Trial) -> dict[str, float]:
    """What the tools measured.

    Args:
        trial: A trial whose measurement is done.

    Returns:
        Name to value, in percent.
    """
    if trial.start != 'train' or not BUDGETS[trial.budget].tasks:
        return read_json(trial.folder / METRICS)
    rows = read_json(trial.folder / 'evaluate' / 'table.json')['rows']
    key = {'knn': '{key}', 'linear': 'linear_last4'}
    return {key[row['task']].format(**row): row['mean'] for row in rows}
