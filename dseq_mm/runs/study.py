"""The runs of a study: one for each config and seed, whichever tables it stands in."""

import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from mmengine.config import Config

from ..cli.options import read_options
from ..data.checks.places import data_builds, missing_folders
from ..tables import TASKS
from ..tables.kinds import Budget, Row, Table
from ..utils.configs import (
    BUDGET_VARIABLE,
    PACKAGE,
    MissingBase,
    read_config,
    resolve_config,
)
from .job import METRICS, RESUME, TRAIN, TRAINED, Job, Step, check_jobs, read_facts
from .protocol import (
    add_options,
    load_config,
    loaders_of,
    settings_text,
    split_options,
)
from .tasks import check_names

EVALUATE = 'evaluate'


@dataclass(frozen=True)
class Study:
    """What is asked for, beside the tables.

    Args:
        budget: Name of the budget, which the configs may read.
        measure: The budget.
        out: Folder of the study.
        tools: Folder of train.py, knn.py, evaluate.py and dist_train.sh.
        seeds: Seeds of each row.
        options: ``key=value`` texts for all configs.
        probe: ``TASK.key=value`` texts for ``tools/evaluate.py``.
        processes: Of each training.
        own_tables: File of the user's tables, None if there is none.
    """

    budget: str
    measure: Budget
    out: Path
    tools: Path
    seeds: Sequence[int] = (0,)
    options: Sequence[str] = ()
    probe: Sequence[str] = ()
    processes: int = 1
    own_tables: Path | None = None

    @contextmanager
    def chosen(self) -> Iterator[None]:
        """Set the variable that the configs read."""
        before = os.environ.get(BUDGET_VARIABLE)
        os.environ[BUDGET_VARIABLE] = self.budget
        try:
            yield
        finally:
            os.environ.pop(BUDGET_VARIABLE)
            if before is not None:
                os.environ[BUDGET_VARIABLE] = before


def plan_study(study: Study, tables: Sequence[Table]) -> tuple[list[Job], list[str]]:
    """Find out what is to be done.

    Args:
        study: What is asked for.
        tables: The tables.

    Returns:
        The runs, each once, all rows of a seed before those of the next; and lines that
        say which rows this budget does not have, and why.

    Raises:
        ValueError: The folder holds the same runs made with other settings, two rows
            would share a folder, an option cannot be understood, or a config is wrong.
    """
    read_options(study.options)
    split_options(study.probe)
    if study.measure.tasks:
        check_names(study.measure.tasks)
    rows: dict[str, Row] = {}
    for row in (row for table in tables for row in table.rows):
        other = rows.setdefault(row.name, row)
        if other.config != row.config:
            raise ValueError(
                f'the rows {other.label!r} ({other.config}) and {row.label!r} '
                f'({row.config}) would share the folder {row.name}: rename a config'
            )
    known, notes = {}, []
    for name, row in rows.items():
        try:
            config = _find_config(study, row)
        except _NoConfig as error:
            notes.append(f'Left out: {row.label}: {error}.')
            continue
        known[name] = row, config, _settings(study, config)
    jobs: dict[Path, Job] = {}
    for seed in study.seeds:
        for facts in known.values():
            job = _job_of(study, *facts, seed)
            jobs[job.folder] = job
    check_jobs(list(jobs.values()), study.out, ())
    return list(jobs.values()), notes


def _job_of(study: Study, row: Row, config: str, settings: str, seed: int) -> Job:
    drawn = row.start != 'pixels'
    folder = study.out / row.name / (f'seed{seed}' if drawn else 'once')
    start = {
        'pixels': ['--raw-pixels'],
        'init': ['--init', '--seed', str(seed)],
        'train': [TRAINED],
    }[row.start]
    steps: tuple[Step, ...] = (_measurement(study, folder, config, start),)
    if row.start == 'train':
        steps = (_training(study, folder, config, seed), *steps)
    return Job(
        name=row.name + f', seed {seed}' * drawn,
        folder=folder,
        config=config,
        options=tuple(study.options),
        seed=seed if drawn else None,
        settings=settings,
        steps=steps,
        read=_reader(study.measure),
        variables={BUDGET_VARIABLE: study.budget},
        processes=study.processes,
        facts=dict(
            name=row.name,
            start=row.start,
            budget=study.budget,
            probe=list(study.probe),
        ),
    )


def _training(study: Study, folder: Path, config: str, seed: int) -> Step:
    options = ['--cfg-options', *study.options, f'randomness.seed={seed}']
    arguments = ['--work-dir', str(folder / TRAIN), '--resume', RESUME]
    arguments += ['--auto-scale-lr', *options]
    if study.processes == 1:
        program = [sys.executable, str(study.tools / 'train.py'), config]
    else:
        shell = ['bash', str(study.tools / 'dist_train.sh')]
        program = [*shell, config, str(study.processes)]
    return Step('training', (*program, *arguments))


def _measurement(study: Study, folder: Path, config: str, start: list[str]) -> Step:
    tool = 'evaluate' if study.measure.tasks else 'knn'
    program = [sys.executable, str(study.tools / f'{tool}.py')]
    if tool == 'knn':
        arguments = [config, *start, '--linear', '--out', str(folder / METRICS)]
        arguments += ['--cfg-options', *study.options] if study.options else []
    else:
        arguments = [*start, '--tasks', study.measure.tasks]
        arguments += ['--out', str(folder / EVALUATE), '--gpus', str(study.processes)]
        if study.own_tables:
            arguments += ['--tables', str(study.own_tables)]
        arguments += ['--cfg-options', *study.probe] if study.probe else []
    return Step('measurement', (*program, *arguments))


def _reader(budget: Budget) -> Callable[[Path], dict[str, float]]:
    """Make what reads the numbers of a measurement."""

    def read(folder: Path) -> dict[str, float]:
        """Read what ``tools/knn.py`` or ``tools/evaluate.py`` measured."""
        if not budget.tasks:
            metrics = read_facts(folder / METRICS)
        else:
            names = {'knn': '{key}', 'linear': 'linear_last4'}
            rows = read_facts(folder / EVALUATE / 'table.json').get('rows', [])
            metrics = {
                names.get(row['task'], '{task} {key}').format(**row): row['mean']
                for row in rows
            }
        if not metrics:
            raise ValueError('nothing was measured')
        for name, value in metrics.items():
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f'{name} is {value}')
        return metrics

    return read


def check_data(study: Study, jobs: Sequence[Job]) -> None:
    """Make sure that training and measurement find their data, before hours are spent.

    Args:
        study: What is asked for.
        jobs: What is to be done.

    Raises:
        ValueError: A data folder is missing.
    """
    missing, options = set(), split_options(study.probe)
    for config in {job.config for job in jobs}:
        with study.chosen():
            cfg = Config.fromfile(config)
        add_options(cfg, study.options)
        missing.update(missing_folders(loaders_of(TASKS['knn'], cfg)))
    for name in filter(None, study.measure.tasks.split(',')) if jobs else ():
        if name != 'knn':
            path = resolve_config(TASKS[name].config.format(arch=study.measure.arch))
            cfg = load_config(path, options.get(name, ()))
            missing.update(missing_folders(loaders_of(TASKS[name], cfg)))
    if missing:
        raise ValueError(
            f'there is no folder {", ".join(sorted(missing))} (seen from '
            f'{os.getcwd()}): put the data there, or name other places with '
            '--cfg-options and --evaluate-options. tools/make_digitscenes.py makes '
            'DigitScenes.'
        )


def _find_config(study: Study, row: Row) -> str:
    """Path of a row's config; ``_NoConfig`` if the budget does not have it."""
    if row.start != 'train' and study.measure.tasks:
        raise _NoConfig('measured on small budgets only')
    name = row.config.format(budget=study.budget)
    if Path(name).is_absolute() and not Path(name).is_file():
        name = Path(name).name  # beside the user's tables for other budgets only
    in_clone = PACKAGE.parent / name
    none = _NoConfig(f'it has no config for {study.budget}')
    try:
        path = str(in_clone) if in_clone.is_file() else resolve_config(name)
    except ValueError:
        raise none from None
    try:
        with study.chosen():
            read_config(path)
    except MissingBase as error:
        if study.budget in Path(error.file).name:
            raise none from None
        raise
    return path


class _NoConfig(ValueError):
    """The budget does not have a row."""


def _settings(study: Study, config: str) -> str:
    """Checksum of all that a result depends on but the seed."""
    with study.chosen():
        cfg = Config.fromfile(config)
    add_options(cfg, study.options)
    data = list(data_builds(loaders_of(TASKS['knn'], cfg)).values())
    text = f'{settings_text(cfg)} {study.processes} {list(study.probe)} {data}'
    return sha256(text.encode()).hexdigest()
