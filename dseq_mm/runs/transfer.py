"""The runs of a checkpoint's transfer table: each task with each seed and start."""

import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from ..data.checks.places import check_annotations, data_builds, missing_folders
from ..tables.kinds import Task
from . import protocol
from .job import (
    ANOTHER,
    METRICS,
    RESUME,
    TRAIN,
    TRAINED,
    Job,
    Step,
    check_jobs,
    digest,
    read_facts,
    read_records,
)
from .subject import Subject
from .tasks import choose_tasks

TABLES = ('table.md', 'table.json')


@dataclass(frozen=True)
class Plan:
    """What is asked for, beside the tasks.

    Args:
        subject: The checkpoint.
        out: Folder of the table.
        tools: Folder of train.py, test.py, knn.py and the dist_*.sh.
        seeds: Seeds of each task.
        random_init: Add the same runs from random weights.
        gpus: Number of processes of each run.
    """

    subject: Subject
    out: Path
    tools: Path
    seeds: Sequence[int] = (0,)
    random_init: bool = False
    gpus: int = 1


def plan_transfer(
    plan: Plan, tasks: str, options: Sequence[str] = ()
) -> tuple[list[Job], list[str]]:
    """Find out what is to be done, and whether it can be done.

    Args:
        plan: What is asked for.
        tasks: Names of tasks, separated by commas; ``all`` leaves out those whose
            config or library is missing.
        options: ``TASK.key=value`` texts.

    Returns:
        The runs in the order of the table, and lines for the user.

    Raises:
        ValueError: Something is wrong with the tasks, the options or the data, a
            library of a task asked for by name is missing, or the folder of the table
            holds something else. All tasks are checked first.
    """
    chosen, notes = choose_tasks(tasks, plan.subject)
    by_task = protocol.split_options(options)
    jobs, problems = [], []
    for task, config in chosen.items():
        try:
            jobs += _jobs_of(plan, task, config, by_task.get(task.name, []))
        except protocol.MissingLibrary as error:
            asked = task.name in [name.strip() for name in tasks.split(',')]
            line = f'{task.name}: {error}'
            problems += [line] * asked
            notes += [f'Left out: {line}.'] * (not asked)
        except ValueError as error:
            problems.append(f'{task.name}: {error}')
    if problems:
        raise ValueError('\n'.join(problems))
    for folder, record in read_records(plan.out):
        if record.get('checkpoint') not in (None, plan.subject.sha256):
            raise ValueError(f'{folder} was made from another checkpoint. {ANOTHER}')
    check_jobs(jobs, plan.out, TABLES)
    return jobs, notes


def _jobs_of(plan: Plan, task: Task, config: str, options: list[str]) -> list[Job]:
    """The runs of one task."""
    knn, subject = task.name == 'knn', plan.subject
    gpus = 1 if knn else plan.gpus
    cfg = protocol.load_config(config, options)
    added = protocol.class_token_options(cfg, options, subject)
    if not knn:
        added += protocol.batch_options(cfg, options, gpus)
    protocol.add_options(cfg, added)
    _check_data(task, cfg, subject)
    data = data_builds(protocol.loaders_of(task, cfg))
    builds = [build for build in data.values() if build]
    facts = dict(
        task=task.name,
        dataset='DigitScenes' if subject.arch == 'digits' else task.dataset,
        user_options=options,
        protocol=protocol.describe(task, cfg, subject, gpus),
        deviations=protocol.deviations(task, cfg, subject, gpus),
        data=data,
    )
    drawn = [None] if knn else plan.seeds  # nothing in kNN is drawn
    starts = [(seed, False) for seed in drawn]
    starts += [(seed, True) for seed in plan.seeds if plan.random_init]
    jobs = []
    for seed, random in starts:
        place = 'once' if seed is None else f'seed{seed}'
        folder = plan.out / task.name / ('random-' * random + place)
        words = [task.name] + ['random weights'] * random
        jobs.append(
            Job(
                name=', '.join(words + [f'seed {seed}'] * (seed is not None)),
                folder=folder,
                config=config,
                options=(*added, *options),
                seed=seed,
                settings=digest([protocol.settings_text(cfg), gpus, builds]),
                steps=_steps(plan, folder, config, [*added, *options], seed, random),
                read=_reader(task),
                checkpoint=None if random else subject.sha256,
                processes=gpus,
                facts=facts | dict(random_init=random),
            )
        )
    return jobs


def _steps(
    plan: Plan,
    folder: Path,
    config: str,
    options: list[str],
    seed: int | None,
    random: bool,
) -> tuple[Step, ...]:
    """KNN, or training and test, by the tools."""
    path, metrics = str(plan.subject.path), ['--out', str(folder / METRICS)]
    if folder.parent.name == 'knn':
        start = ['--init', '--seed', str(seed)] if random else [path]
        options = ['--cfg-options', *options] if options else []
        return (Step('kNN', (*_tool(plan, 'knn', config, *start), *metrics, *options)),)
    options = ['--cfg-options', *options, f'randomness.seed={seed}']
    start = ['--from-scratch'] if random else ['--checkpoint', path]
    train = [*start, '--work-dir', str(folder / TRAIN), '--resume', RESUME, *options]
    test = ['--work-dir', str(folder / 'test'), *metrics, *options]
    if plan.gpus == 1:
        return (
            Step('training', _tool(plan, 'train', config, *train)),
            Step('test', _tool(plan, 'test', config, TRAINED, *test)),
        )
    gpus = str(plan.gpus)
    shell = [('bash', str(plan.tools / f'dist_{n}.sh')) for n in ('train', 'test')]
    return (
        Step('training', (*shell[0], config, gpus, *train)),
        Step('test', (*shell[1], config, TRAINED, gpus, *test)),
    )


def _tool(plan: Plan, name: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, str(plan.tools / f'{name}.py'), *arguments)


def _reader(task: Task) -> Callable[[Path], dict[str, float]]:
    """Make what reads the metrics of the table, in percent."""

    def read(folder: Path) -> dict[str, float]:
        """Read the metrics that a tool has written."""
        found = read_facts(folder / METRICS)
        metrics = {}
        for metric in task.metrics:
            value = found.get(metric.key)
            if not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise ValueError(f'{metric.key} is {value}; measured were {found}')
            metrics[metric.key] = metric.scale * value
        return metrics

    return read


def _check_data(task: Task, cfg: Config, subject: Subject) -> None:
    missing = missing_folders(protocol.loaders_of(task, cfg))
    if not missing:
        if task.name != 'knn':
            check_annotations(cfg, task.name)
        return
    name, make = task.check, 'put the data there, or link it'
    if subject.arch == 'digits':
        name, make = (
            'digitscenes',
            'tools/make_digitscenes.py data/digitscenes makes it',
        )
    check = f' tools/check_data.py {name} checks it.' if name else ''
    raise ValueError(
        f'there is no folder {", ".join(missing)} (seen from {os.getcwd()}): {make}.'
        f'{check}'
    )
