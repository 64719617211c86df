"""Calling the tools of the package, one process per step, several side by side."""

import argparse
import fcntl
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ..utils.configs import PACKAGE
from ..utils.work_dir import newest_checkpoint

LOG = 'log.txt'


@dataclass
class Launcher:
    """How the tools are called.

    Args:
        folder: Where train.py, test.py, knn.py and the dist_*.sh lie.
        jobs: Runs at once.

    Attributes:
        stopped: Set by :meth:`stop`; nothing is started any more.
    """

    folder: Path
    jobs: int = 1
    stopped: bool = field(default=False, init=False)
    _processes: set = field(default_factory=set, init=False, repr=False)

    def python(self, tool: str, *arguments: str) -> list[str]:
        """A command that runs one of the tools.

        Args:
            tool: Its name, without ``.py``.
            *arguments: Its arguments.

        Returns:
            Program and arguments.
        """
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

    def call(
        self,
        command: Sequence[str],
        log: IO[bytes],
        variables: Mapping[str, str] | None = None,
    ) -> int:
        """Run a command to its end.

        Args:
            command: Program and arguments.
            log: Where it writes what it prints.
            variables: Added to its environment.

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
            env=self.environment() | dict(variables or {}),
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

    def side_by_side(self, one: Callable[[Any], bool], todo: Sequence) -> bool:
        """Do several things at once; from the keyboard or by an error, none goes on.

        Args:
            one: Does one of them and says whether it is done.
            todo: The things.

        Returns:
            Whether all are done.
        """
        pool, good = ThreadPoolExecutor(self.jobs), True
        try:
            for future in as_completed([pool.submit(one, item) for item in todo]):
                good = future.result() and good
        except BaseException:  # also from the keyboard
            self.stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        return good


def trained_checkpoint(folder: Path) -> Path | None:
    """Find the newest whole checkpoint of a training, wherever its folder was moved.

    Args:
        folder: Work dir of the training.

    Returns:
        Its path, None if there is none.
    """
    return newest_checkpoint(folder)[0]


def last_line(log: Path) -> str:
    """The last thing that a log says.

    Args:
        log: The file.

    Returns:
        At most 200 characters in brackets; empty if it says nothing.
    """
    text = log.read_bytes()[-4000:].decode(errors='replace')
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f' ({lines[-1][:200]})' if lines else ''


def lock(log: IO[bytes]) -> bool:
    """Lock a log for as long as we or a command that writes to it live.

    Args:
        log: The open file.

    Returns:
        Whether no other process has it.
    """
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    return True


def parse_seeds(text: str) -> list[int]:
    """Read a list of seeds.

    Args:
        text: Numbers, separated by commas.

    Returns:
        The seeds.

    Raises:
        argparse.ArgumentTypeError: If one is no number, negative or there twice.
    """
    parts = [part.strip() for part in text.split(',')]
    seeds = [int(part) for part in parts if part.isdecimal()]
    if len(set(seeds)) < len(parts) or max(seeds) >= 2**32:
        raise argparse.ArgumentTypeError(f'{text}: give numbers once, such as 0,1,2')
    return seeds


def say(line: str) -> None:
    """Print a line at once.

    Args:
        line: What to print.
    """
    print(line, flush=True)
