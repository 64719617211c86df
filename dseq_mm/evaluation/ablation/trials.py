"""What a study has to do: one trial for each config and seed, each in its own folder.

A trial belongs to a config and a seed, not to a table, so tables share trials.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from mmengine.config import Config

from ...utils.configs import (
    BUDGET_VARIABLE,
    PACKAGE,
    MissingBase,
    read_config,
    resolve_config,
)
from ...utils.options import read_options
from ..suite.protocol import (
    add_options,
    data_builds,
    load_config,
    missing_folders,
    settings_text,
    split_options,
)
from ..suite.runs import ANOTHER, RECORD, RESULT, read_json
from ..suite.tasks import TASKS
from .tables import BUDGETS, Row, Table

METRICS = 'metrics.json'
TRAIN = 'train'


class NoConfig(ValueError):
    """A budget does not have a row."""


@dataclass(frozen=True)
class Trial:
    """One config with one seed.

    Args:
        name: Name of the row's folder.
        start: See :class:`Row`.
        config: Path of the config.
        budget: Name of the budget.
        seed: Of weights, masks and augmentation; None where none has an effect.
        processes: Of the training; with ``--auto-scale-lr`` it decides batch and rate.
        options: ``key=value`` texts for the config.
        probe: ``TASK.key=value`` texts for ``tools/evaluate.py``.
        settings: Checksum of the config with its options, of the number of processes
            and of the data's build.
        folder: Where it is done.
    """

    name: str
    start: str
    config: str
    budget: str
    seed: int | None
    processes: int
    options: tuple[str, ...]
    probe: tuple[str, ...]
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
    out: Path,
    options: Sequence[str] = (),
    probe: Sequence[str] = (),
    processes: int = 1,
) -> tuple[list[Trial], list[str]]:
    """Find out what is to be done.

    Args:
        tables: The tables.
        budget: Key of :data:`BUDGETS`.
        seeds: Seeds of each row.
        out: Folder of the study.
        options: ``key=value`` texts for all configs.
        probe: ``TASK.key=value`` texts for the measurement.
        processes: Of each training.

    Returns:
        The trials, each once, all rows of a seed before those of the next; and lines
        that say which rows this budget does not have, and why.

    Raises:
        ValueError: If ``out`` holds the same trials made with other settings, an
            option cannot be understood, or something is wrong in a config.
    """
    read_options(options)
    split_options(probe)
    rows = {row.name: row for table in tables for row in table.rows}
    shared = dict(
        budget=budget, processes=processes, options=tuple(options), probe=tuple(probe)
    )
    known, notes = {}, []
    for name, row in rows.items():
        try:
            config = _find_config(row, budget)
        except NoConfig as error:
            notes.append(f'Left out: {row.label}: {error}.')
            continue
        settings = _settings(config, **shared)
        known[name] = dict(
            shared, name=name, start=row.start, config=config, settings=settings
        )
    trials: dict[Path, Trial] = {}
    for seed in seeds:
        for name, facts in known.items():
            drawn = facts['start'] != 'pixels'
            folder = out / name / (f'seed{seed}' if drawn else 'once')
            trials[folder] = Trial(seed=seed if drawn else None, folder=folder, **facts)
    for trial in trials.values():
        if problem := problem_of(trial):
            raise ValueError(problem)
    return list(trials.values()), notes


def problem_of(trial: Trial) -> str:
    """Compare what is in a trial's folder with the trial.

    Args:
        trial: The trial.

    Returns:
        Why it cannot be done there, empty if it can.
    """
    record = trial.folder / RECORD
    if record.is_file():
        if read_json(record).get('settings') == trial.settings:
            return ''
        return (
            f'{trial.folder} was made with another config, other options, another '
            f'number of processes or other data. {ANOTHER}'
        )
    if any((trial.folder / name).exists() for name in (TRAIN, RESULT, METRICS)):
        return f'{trial.folder} holds something, but no {RECORD}. {ANOTHER}'
    return ''


def check_data(trials: Sequence[Trial]) -> None:
    """Make sure that training and measurement find their data, before hours are spent.

    Args:
        trials: What is to be done.

    Raises:
        ValueError: If a data folder is missing.
    """
    missing = set()
    for trial in {trial.name: trial for trial in trials}.values():
        with _budget(trial.budget):
            cfg = Config.fromfile(trial.config)
        add_options(cfg, trial.options)
        missing.update(missing_folders(TASKS['knn'], cfg))
        budget = BUDGETS[trial.budget]
        options = split_options(trial.probe)
        for name in filter(None, budget.tasks.split(',')):
            if name != 'knn':
                path = resolve_config(TASKS[name].config.format(arch=budget.arch))
                cfg = load_config(path, options.get(name, ()))
                missing.update(missing_folders(TASKS[name], cfg))
    if missing:
        raise ValueError(
            f'there is no folder {", ".join(sorted(missing))} (seen from '
            f'{os.getcwd()}): put the data there, or name other places with '
            '--cfg-options and --evaluate-options. tools/make_digitscenes.py makes '
            'DigitScenes.'
        )


@contextmanager
def _budget(name: str) -> Iterator[None]:
    """Set the variable that the configs read."""
    before = os.environ.get(BUDGET_VARIABLE)
    os.environ[BUDGET_VARIABLE] = name
    try:
        yield
    finally:
        os.environ.pop(BUDGET_VARIABLE)
        if before is not None:
            os.environ[BUDGET_VARIABLE] = before


def _find_config(row: Row, budget: str) -> str:
    """Path of a row's config, which can be read.

    Raises:
        NoConfig: If the budget does not have the row.
        ValueError: If something is wrong in the config.
    """
    if row.start != 'train' and BUDGETS[budget].tasks:
        raise NoConfig('measured on small budgets only')
    none = NoConfig(f'it has no config for {budget}')
    name = row.config.format(budget=budget)
    in_clone = PACKAGE.parent / name
    try:
        path = str(in_clone) if in_clone.is_file() else resolve_config(name)
    except ValueError:
        raise none from None
    try:
        with _budget(budget):
            read_config(path)
    except MissingBase as error:
        if budget in Path(error.file).name:
            raise none from None
        raise
    return path


def _settings(
    config: str,
    budget: str,
    processes: int,
    options: Sequence[str],
    probe: Sequence[str],
) -> str:
    """Checksum of all that a result depends on but the seed."""
    with _budget(budget):
        cfg = Config.fromfile(config)
    add_options(cfg, options)
    data = list(data_builds(TASKS['knn'], cfg).values())
    text = f'{settings_text(cfg)} {processes} {list(probe)} {data}'
    return sha256(text.encode()).hexdigest()
