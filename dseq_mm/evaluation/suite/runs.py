"""The runs of the table, and what is already there of them.

A run is one task with one seed, from the checkpoint or from random weights. Its folder
holds ``run.json`` from its start on, ``result.json`` once it is done, ``log.txt``, and
the folders ``train`` and ``test`` of the tools.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from . import protocol
from .subject import Subject
from .tasks import TASKS, Task, choose_tasks

RECORD, RESULT = 'run.json', 'result.json'
TABLES = ('table.md', 'table.json')
ANOTHER = 'Choose another --out: nothing that is there is overwritten.'


@dataclass(frozen=True)
class Run:
    """One task, one seed, one start.

    Args:
        task: Name of the task.
        dataset: Name of the data set.
        seed: Its seed; None where none has an effect.
        random_init: From random weights, not from the checkpoint.
        checkpoint: Checksum of the checkpoint, None from random weights.
        config: Path of the config.
        options: ``key=value`` texts, those of the user and those that follow from the
            checkpoint and the number of GPUs.
        user_options: Those of the user alone.
        settings: Checksum of the config with its options, of the number of GPUs and of
            the build of DigitScenes.
        protocol: The protocol in one line.
        deviations: What differs from the paper's protocol apart from the options.
        data: The data, see :func:`.protocol.data_builds`.
        folder: Where it is done.
    """

    task: str
    dataset: str
    seed: int | None
    random_init: bool
    checkpoint: str | None
    config: str
    options: tuple[str, ...]
    user_options: tuple[str, ...]
    settings: str
    protocol: str
    deviations: tuple[str, ...]
    data: dict[str, dict | None]
    folder: Path

    @property
    def name(self) -> str:
        """What it is called in messages."""
        seed = '' if self.seed is None else f', seed {self.seed}'
        return self.task + (', random weights' if self.random_init else '') + seed

    @property
    def fingerprint(self) -> str:
        """Checksum of all that the result depends on."""
        return _digest([self.checkpoint, self.settings, self.seed])

    def record(self) -> dict:
        """Everything that the table needs to know of it, for JSON."""
        facts = asdict(self) | dict(
            config=Path(self.config).stem, fingerprint=self.fingerprint
        )
        return {k: v for k, v in facts.items() if k != 'folder'}


def plan_runs(
    subject: Subject,
    tasks: str,
    out: Path,
    seeds: Sequence[int] = (0,),
    random_init: bool = False,
    gpus: int = 1,
    options: Sequence[str] = (),
) -> tuple[list[Run], list[str]]:
    """Find out what is to be done, and whether it can be done.

    Args:
        subject: The checkpoint.
        tasks: Names of tasks, separated by commas; ``all`` leaves out those whose
            config or library is missing.
        out: Folder of the table.
        seeds: Seeds of each task.
        random_init: Add the same runs from random weights.
        gpus: Number of processes of each run.
        options: ``TASK.key=value`` texts.

    Returns:
        The runs in the order of the table, and lines for the user.

    Raises:
        ValueError: Something is wrong with the tasks, the options or the data, a
            library of a task asked for by name is missing, or ``out`` holds something
            else. All tasks are checked first.
    """
    chosen, notes = choose_tasks(tasks, subject)
    by_task = protocol.split_options(options)
    runs, problems = [], []
    for task, config in chosen.items():
        try:
            runs += _runs_of(
                task,
                config,
                tuple(by_task.get(task.name, ())),
                subject,
                out,
                seeds,
                random_init,
                gpus,
            )
        except protocol.MissingLibrary as error:
            asked = task.name in [name.strip() for name in tasks.split(',')]
            line = f'{task.name}: {error}'
            problems += [line] * asked
            notes += [f'Left out: {line}.'] * (not asked)
        except ValueError as error:
            problems.append(f'{task.name}: {error}')
    if problems:
        raise ValueError('\n'.join(problems))
    check_folders(runs, subject, out)
    return runs, notes


def _runs_of(task, config, options, subject, out, seeds, random_init, gpus):
    """The runs of one task."""
    gpus = 1 if task.name == 'knn' else gpus
    cfg = protocol.load_config(config, options)
    added = protocol.class_token_options(cfg, options, subject)
    if task.name != 'knn':
        added += protocol.batch_options(cfg, options, gpus)
    protocol.add_options(cfg, added)
    _check_data(task, cfg, subject)
    data = protocol.data_builds(task, cfg)
    builds = [build for build in data.values() if build]
    common = dict(
        task=task.name,
        dataset='DigitScenes' if subject.arch == 'digits' else task.dataset,
        config=config,
        options=(*added, *options),
        user_options=options,
        settings=_digest([protocol.settings_text(cfg), gpus, builds]),
        protocol=protocol.describe(task, cfg, subject, gpus),
        deviations=tuple(protocol.deviations(task, cfg, subject, gpus)),
        data=data,
    )
    folder = out / task.name
    own = [None] if task.name == 'knn' else seeds  # nothing in kNN is drawn
    runs = [
        Run(
            seed=seed,
            random_init=False,
            checkpoint=subject.sha256,
            folder=folder / ('once' if seed is None else f'seed{seed}'),
            **common,
        )
        for seed in own
    ]
    runs += [
        Run(
            seed=seed,
            random_init=True,
            checkpoint=None,
            folder=folder / f'random-seed{seed}',
            **common,
        )
        for seed in (seeds if random_init else ())
    ]
    return runs


def _check_data(task: Task, cfg, subject: Subject) -> None:
    missing = protocol.missing_folders(task, cfg)
    if not missing:
        protocol.check_annotations(task, cfg)
        return
    name = 'digitscenes' if subject.arch == 'digits' else task.check
    make = (
        'tools/make_digitscenes.py data/digitscenes makes it'
        if name == 'digitscenes'
        else 'put the data there, or link it'
    )
    raise ValueError(
        f'there is no folder {", ".join(missing)} (seen from {os.getcwd()}): {make}. '
        f'tools/check_data.py {name} checks it.'
    )


def check_folders(runs: Sequence[Run], subject: Subject, out: Path) -> None:
    """Make sure that nothing of the user is mixed up or overwritten.

    Args:
        runs: What is to be done.
        subject: The checkpoint.
        out: Folder of the table.

    Raises:
        ValueError: ``out`` holds results of another checkpoint, of other settings or
            of another kind.
    """
    planned = {run.folder: run for run in runs}
    by_task = {run.task: run for run in runs}
    records = read_records(out)
    for folder, record in records:
        if record['checkpoint'] not in (None, subject.sha256):
            raise ValueError(f'{folder} was made from another checkpoint. {ANOTHER}')
        run = planned.get(folder) or by_task.get(record['task'])
        if run is None:
            continue
        same = record['settings'] == run.settings
        if folder in planned:
            same = same and record['fingerprint'] == run.fingerprint
        if not same:
            if _other_data(record, run):
                raise ValueError(
                    f'{folder} was made with other data: DigitScenes was built anew '
                    f'since then, or lies elsewhere. {ANOTHER}'
                )
            raise ValueError(
                f'{folder} was made with another config, other options or another '
                'number of GPUs (its options: '
                f'{" ".join(record["options"]) or "none"}; now: '
                f'{" ".join(run.options) or "none"}). {ANOTHER}'
            )
    ours = {folder for folder, _ in records}
    for path in [out / name for name in TABLES if not ours] + list(planned):
        if path not in ours and path.exists():
            if path.is_file() or any(path.iterdir()):
                raise ValueError(f'{path} is something else. {ANOTHER}')


def _other_data(record: dict, run: Run) -> bool:
    """Whether the options are equal, and only the builds of DigitScenes differ."""
    if 'data' not in record or record['options'] != list(run.options):
        return False
    then, now = (list(facts.values()) for facts in (record['data'], run.data))
    return then != now


def read_records(out: Path) -> list[tuple[Path, dict]]:
    """Read what is in a folder of runs.

    Args:
        out: The folder.

    Returns:
        Folder and facts of each run: :meth:`Run.record` and ``status`` ('running',
        'failed' or 'done'); of one that is done also ``metrics``, ``date``,
        ``versions``, ``minutes`` and ``resumed``. Sorted by folder.

    Raises:
        ValueError: A file cannot be read.
    """
    found = []
    for path in sorted(out.glob(f'*/*/{RECORD}')):
        record = read_json(path)
        if path.with_name(RESULT).is_file():
            record = read_json(path.with_name(RESULT))
        if record.get('task') in TASKS:
            found.append((path.parent, record))
    return found


def read_json(path: Path) -> dict:
    """Read a file of ours.

    Args:
        path: The file.

    Returns:
        What it holds.

    Raises:
        ValueError: It is damaged.
    """
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path} is damaged ({error}). {ANOTHER}') from error


def write_text(path: Path, text: str) -> None:
    """Write a file so that it is whole at any time.

    Args:
        path: The file; its folder is made.
        text: What goes in.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f'.{path.name}.{os.getpid()}')
    draft.write_text(text, encoding='utf-8')
    os.replace(draft, path)


def write_json(path: Path, facts: dict) -> None:
    """Write a file of ours, whole at any time.

    Args:
        path: The file; its folder is made.
        facts: What goes in.
    """
    write_text(path, json.dumps(facts, indent=2) + '\n')


def _digest(facts) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
