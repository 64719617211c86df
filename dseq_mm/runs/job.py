"""What a run is, and what its folder holds.

The folder of a run has ``run.json`` from its start on, ``result.json`` once it is done,
``log.txt`` with all that the tools printed, and what these wrote.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..utils.files import read_json

RECORD, RESULT, LOG, METRICS = 'run.json', 'result.json', 'log.txt', 'metrics.json'
TRAIN = 'train'
#: In a command: the newest checkpoint of the run's training.
TRAINED = '{trained}'
#: In a command: the same, or 'auto' as long as there is none.
RESUME = '{resume}'
ANOTHER = 'Choose another --out: nothing that is there is overwritten.'


@dataclass(frozen=True)
class Step:
    """One command of a run.

    Args:
        name: What it is called in messages.
        command: Program and arguments; :data:`TRAINED` and :data:`RESUME` in them are
            replaced when it starts.
    """

    name: str
    command: tuple[str, ...]

    @property
    def trains(self) -> bool:
        """Whether it leaves checkpoints in the folder :data:`TRAIN` of the run."""
        return RESUME in self.command


@dataclass(frozen=True)
class Job:
    """A config with options and a seed, the commands that it takes, and its folder.

    Args:
        name: What it is called in messages.
        folder: Where it is done. Runs that differ in nothing but the seed have folders
            side by side.
        config: Path of the config.
        options: ``key=value`` texts for the config.
        seed: Its seed; None where none has an effect.
        settings: Checksum of all that the result depends on but seed and checkpoint.
        steps: The commands, the training first.
        read: Takes the folder and returns the metrics, name to number; a ValueError
            says why there are none.
        checkpoint: Checksum of the checkpoint that it starts from, if any.
        variables: Added to the environment of the commands.
        processes: Of each training; above one, a port is chosen for it.
        facts: What else the tables need to know of it, for JSON.
    """

    name: str
    folder: Path
    config: str
    options: tuple[str, ...]
    seed: int | None
    settings: str
    steps: tuple[Step, ...]
    read: Callable[[Path], dict[str, float]] = field(repr=False)
    checkpoint: str | None = None
    variables: dict[str, str] = field(default_factory=dict)
    processes: int = 1
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Checksum of all that the result depends on."""
        return digest([self.checkpoint, self.settings, self.seed])

    def record(self) -> dict:
        """Collect all that decides the result, for JSON."""
        return self.facts | dict(
            config=Path(self.config).stem,
            options=list(self.options),
            seed=self.seed,
            settings=self.settings,
            checkpoint=self.checkpoint,
            processes=self.processes,
            fingerprint=self.fingerprint,
        )

    @property
    def done(self) -> bool:
        """Whether it has a result."""
        return (self.folder / RESULT).is_file()

    def problem(self) -> str:
        """Compare what is in its folder, and in those of other seeds, with this run.

        Returns:
            Why it cannot be done there, empty if it can.
        """
        if not (self.folder / RECORD).is_file() and _has_something(self.folder):
            return f'{self.folder} is something else, without {RECORD}. {ANOTHER}'
        for path in sorted(self.folder.parent.glob(f'*/{RECORD}')):
            record = read_record(path.parent)
            if self._is_other(path.parent, record):
                reason = self._what_differs(record)
                return f'{path.parent} was made with {reason}. {ANOTHER}'
        return ''

    def _is_other(self, folder: Path, record: dict) -> bool:
        """Whether a folder holds a run of other settings, or another run than this."""
        if record.get('settings') != self.settings:
            return True
        if folder != self.folder or 'fingerprint' not in record:
            return False
        return record['fingerprint'] != self.fingerprint

    def _what_differs(self, record: dict) -> str:
        then, now = record.get('options', []), list(self.options)
        if then == now and _builds(record) != _builds(self.facts):
            return (
                'other data: DigitScenes was built anew since then, or lies elsewhere'
            )
        return (
            'another config, other options, another number of processes or other data '
            f'(its options: {" ".join(then) or "none"}; now: {" ".join(now) or "none"})'
        )


def _builds(facts: dict) -> list:
    return [*(facts.get('data') or {}).values()]


def _has_something(folder: Path) -> bool:
    """Whether there is more than the log that a run begins with."""
    if folder.is_dir():
        return any(path.name != LOG for path in folder.iterdir())
    return folder.exists()


def check_jobs(jobs: Sequence[Job], out: Path, tables: Sequence[str]) -> None:
    """Make sure that nothing of the user is mixed up or overwritten.

    Args:
        jobs: What is to be done.
        out: Folder of the tables.
        tables: Names of the files that are written there.

    Raises:
        ValueError: ``out`` holds runs of other settings, or something else.
    """
    if not any(out.glob(f'*/*/{RECORD}')):
        for path in (out / name for name in tables):
            if path.exists():
                raise ValueError(f'{path} is something else. {ANOTHER}')
    for job in jobs:
        if problem := job.problem():
            raise ValueError(problem)


def read_record(folder: Path) -> dict:
    """Read what is known of a run.

    Args:
        folder: Its folder.

    Returns:
        :meth:`Job.record`, ``status`` ('running', 'failed' or 'done'), ``minutes`` of
        its first step and ``resumed``; of one that is done also ``metrics``, ``date``
        and ``versions``, of one that failed its ``reason``.

    Raises:
        ValueError: A file is damaged.
        OSError: A file cannot be read.
    """
    result = folder / RESULT
    return read_facts(result if result.is_file() else folder / RECORD)


def read_records(out: Path) -> list[tuple[Path, dict]]:
    """Read all runs of a folder.

    Args:
        out: The folder.

    Returns:
        Folder and facts (see :func:`read_record`) of each run, sorted by folder.

    Raises:
        ValueError: A file is damaged.
    """
    folders = sorted(path.parent for path in out.glob(f'*/*/{RECORD}'))
    return [(folder, read_record(folder)) for folder in folders]


def read_facts(path: Path) -> dict:
    """Read a file that a run has written.

    Args:
        path: The file.

    Returns:
        What it holds.

    Raises:
        ValueError: It is damaged; with what to do.
        OSError: It cannot be read.
    """
    try:
        return read_json(path)
    except ValueError as error:
        raise ValueError(f'{error}. {ANOTHER}') from error


def digest(facts: Any) -> str:
    """Compute a checksum of plain values.

    Args:
        facts: What JSON can hold.

    Returns:
        SHA-256 in hexadecimal digits.
    """
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
