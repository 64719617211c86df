"""Carrying out runs: one process per step, several runs side by side, resumed."""

import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import datetime, timezone
from pathlib import Path
from queue import Queue
from typing import IO

from ..engine.work_dir import newest_checkpoint
from ..utils.configs import PACKAGE
from ..utils.files import write_json
from ..utils.machine import usable_cores
from .job import (
    LOG,
    METRICS,
    RECORD,
    RESULT,
    RESUME,
    TRAIN,
    TRAINED,
    Job,
    read_record,
)


class Failure(Exception):
    """A run cannot be finished; the text says why."""


class Engine:
    """Does what is not yet done, and writes down what became of it.

    Args:
        jobs: Runs at once, where there are no devices.
        devices: What each run at a time sees, as for ``CUDA_VISIBLE_DEVICES``:
            ``('0', '1')`` are two runs at once, ``('0,1',)`` is one of two processes.
        versions: What is installed, for the records.
        say: Takes one line for the user.

    Attributes:
        stopped: Set by :meth:`stop`; nothing is started any more.
    """

    def __init__(
        self,
        jobs: int = 1,
        devices: Sequence[str] = (),
        versions: dict[str, str] | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.jobs = len(devices) or jobs
        self.versions, self.say = versions or {}, say
        self.stopped = False
        self._processes: set[subprocess.Popen] = set()
        self._places: Queue = Queue()
        places: Sequence[str | None] = devices or [None] * self.jobs
        for place in places:
            self._places.put(place)

    def run(self, jobs: Sequence[Job], finished: Callable[[], None]) -> bool:
        """Do what is not yet done; from the keyboard or by an error, none goes on.

        Args:
            jobs: The runs; those in their folders were found to be the same, see
                :func:`~.job.check_jobs`.
            finished: Called at the start and after every run, by one thread at a time.

        Returns:
            Whether all runs are done.
        """
        todo = [job for job in jobs if not job.done]
        if len(todo) < len(jobs):
            self.say(f'{len(jobs) - len(todo)} of {len(jobs)} runs were done before.')
            finished()
        turn = threading.Lock()

        def one(job: Job) -> bool:
            """Do a run on the next free device and have the tables written anew."""
            device = self._places.get()
            try:
                done = not self.stopped and self._locked(job, device)
            finally:
                self._places.put(device)
            with turn:
                finished()
            return done

        pool, good = ThreadPoolExecutor(self.jobs), True
        try:
            for future in as_completed([pool.submit(one, job) for job in todo]):
                good = future.result() and good
        except BaseException:  # also from the keyboard
            self.stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        return good

    def stop(self) -> None:
        """End what is running; its runs stay unfinished, not failed."""
        self.stopped = True
        for process in list(self._processes):
            process.terminate()

    def _locked(self, job: Job, device: str | None) -> bool:
        """Do a run, unless another process is at it or has done it."""
        job.folder.mkdir(parents=True, exist_ok=True)
        with (job.folder / LOG).open('ab') as log:
            if not lock(log):
                self.say(f'{job.name}: another process is at it in {job.folder}')
                return False
            # another call may have been here since the runs were planned
            if problem := job.problem():
                self.say(f'{job.name}: {problem}')
                return False
            return job.done or self._carry_out(job, device, log)

    def _carry_out(self, job: Job, device: str | None, log: IO[bytes]) -> bool:
        """Do a run; whatever fails becomes its status."""
        known = (job.folder / RECORD).is_file()
        facts = job.record() | _before(job)
        path = job.folder / LOG
        self.say(f'{job.name}: {"resume" if known else "start"}, log in {path}')
        try:
            self._steps(job, device, log, facts)
            metrics = job.read(job.folder)
        except (Failure, OSError, ValueError) as error:
            if not self.stopped:
                failed = dict(status='failed', reason=str(error))
                write_json(job.folder / RECORD, facts | failed)
                self.say(f'{job.name}: failed: {error}; see {path}')
            return False
        facts |= dict(
            status='done',
            metrics=metrics,
            date=datetime.now(timezone.utc).isoformat(timespec='seconds'),
            versions=self.versions,
        )
        write_json(job.folder / RESULT, facts)
        shown = ', '.join(f'{key} {value:.2f}' for key, value in metrics.items())
        self.say(f'{job.name}: done in {facts["minutes"]:.1f} min: {shown}')
        return True

    def _steps(self, job: Job, device, log: IO[bytes], facts: dict) -> None:
        """Do one command after the other."""
        (job.folder / METRICS).unlink(missing_ok=True)
        for number, step in enumerate(job.steps):
            write_json(job.folder / RECORD, facts | dict(status='running'))
            begun = time.monotonic()
            status = self._call(commands(job)[number], log, _variables(job, device))
            if number == 0:  # a training that was interrupted is timed by its parts
                facts['minutes'] += (time.monotonic() - begun) / 60
            if status:
                said = last_line(job.folder / LOG)
                raise Failure(f'{step.name} ended with status {status}{said}')
            if step.trains:
                if newest_checkpoint(job.folder / TRAIN)[0] is None:
                    where = job.folder / TRAIN
                    raise Failure(f'{step.name} left no checkpoint in {where}')
                facts['trained'] = True

    def _call(
        self, command: Sequence[str], log: IO[bytes], variables: dict[str, str]
    ) -> int:
        """Run a command to its end and return its status; it prints into the log."""
        log.write(f'\n$ {shlex.join(command)}\n'.encode())
        log.flush()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(self.jobs) | variables,
        )
        self._processes.add(process)
        if self.stopped:
            process.terminate()
        try:
            return process.wait()
        finally:
            self._processes.discard(process)


def commands(job: Job) -> list[list[str]]:
    """Write the commands of a run as they would be called now.

    Args:
        job: The run.

    Returns:
        Program and arguments of each step.
    """
    found = newest_checkpoint(job.folder / TRAIN)[0]
    words = {
        TRAINED: str(found or job.folder / TRAIN / 'LAST_CHECKPOINT'),
        RESUME: str(found or 'auto'),
    }
    return [[words.get(word, word) for word in step.command] for step in job.steps]


def environment(jobs: int = 1) -> dict[str, str]:
    """Make the environment of the commands.

    Args:
        jobs: Runs at once.

    Returns:
        Ours, with this Python as ``python``, this package and not too many threads.
    """
    variables = dict(os.environ)
    paths = [str(Path(sys.executable).parent), variables.get('PATH')]
    variables['PATH'] = os.pathsep.join(filter(None, paths))
    if (PACKAGE.parent / 'tools').is_dir():  # a clone, maybe not installed
        paths = [str(PACKAGE.parent), variables.get('PYTHONPATH')]
        variables['PYTHONPATH'] = os.pathsep.join(filter(None, paths))
    if jobs > 1:
        share = max(1, usable_cores() // jobs)
        variables.setdefault('OMP_NUM_THREADS', str(share))
    return variables


def _before(job: Job) -> dict:
    """What earlier calls left: time spent, and whether a training goes on."""
    known = read_record(job.folder) if (job.folder / RECORD).is_file() else {}
    trained = known.get('trained', False)
    going_on = not trained and newest_checkpoint(job.folder / TRAIN)[0] is not None
    return dict(
        minutes=known.get('minutes', 0.0),
        trained=trained,
        resumed=known.get('resumed', False) or going_on,
    )


def _variables(job: Job, device: str | None) -> dict[str, str]:
    """What a command finds in its environment: devices, and a port that nobody has."""
    variables = dict(job.variables)
    if device is not None:
        variables['CUDA_VISIBLE_DEVICES'] = device
    if job.processes > 1:
        with socket.socket() as server:
            server.bind(('127.0.0.1', 0))
            variables['PORT'] = str(server.getsockname()[1])
    return variables


def last_line(log: Path) -> str:
    """Find the last thing that a log says.

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
        import fcntl
    except ImportError:  # not POSIX
        return True
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    return True
