"""The folder of a run: which checkpoint to go on from, and one run at a time."""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, ClassVar, NamedTuple, NoReturn

from ..transfer.checkpoint import is_whole, peek_checkpoint

LAST_CHECKPOINT = 'last_checkpoint'
_SUFFIXES = ('.pth', '.pt')
_PUBLISHED = re.compile(r'.+-[0-9a-f]{8}')  # as CheckpointHook names them


class _Place(NamedTuple):
    """A checkpoint and how far its run had come."""

    path: Path
    run: str | None
    progress: tuple[float, float]
    time: str


def newest_checkpoint(
    work_dir: str | Path, checkpoint_dir: str | Path | None = None
) -> tuple[Path | None, list[str]]:
    """Find the checkpoint that a run goes on from.

    It is whole, a trainer's own (no exported backbone, no best or published one) and
    lies in this folder, wherever that was moved or copied to. ``last_checkpoint`` says
    which run goes on; of its checkpoints that are not older, the farthest is taken.

    Args:
        work_dir: Work dir of the run.
        checkpoint_dir: Where its checkpoints are, if they are elsewhere.

    Returns:
        Its path, None if there is none, and lines for the log.
    """
    folders = [Path(work_dir)]
    if checkpoint_dir is not None and Path(checkpoint_dir) != folders[0]:
        folders.append(Path(checkpoint_dir))
    notes: list[str] = []
    places = list(_read_places(folders, notes))
    named = _read_last_checkpoint(folders, notes)
    for place in _by_preference(places, named):
        if _is_whole(place.path):
            notes.append(f'{place.path} is the newest whole checkpoint here.')
            return place.path, notes
        notes.append(_damaged(place.path))
    notes.append(f'There is no whole checkpoint in {" or ".join(map(str, folders))}.')
    return None, notes


def _read_places(folders: list[Path], notes: list[str]) -> Iterator[_Place]:
    """Read what the trainers' checkpoints of some folders say about themselves."""
    for path in (path for folder in folders for path in sorted(folder.glob('*'))):
        published = _PUBLISHED.fullmatch(path.stem) or path.name.startswith('best_')
        if path.suffix not in _SUFFIXES or published or not path.is_file():
            continue
        try:
            checkpoint = peek_checkpoint(path)
        except (OSError, ValueError) as error:
            refused = ' was refused' in str(error)  # it is whole, and carries code
            notes.append(f'{error}' if refused else _damaged(path))
            continue
        meta = checkpoint.get('meta')
        trainers = {'optimizer', 'message_hub'} & checkpoint.keys()
        if 'state_dict' in checkpoint and trainers and isinstance(meta, dict):
            run = meta['run'] if isinstance(meta.get('run'), dict) else {}
            yield _Place(path, run.get('id'), _come(meta), str(meta.get('time', '')))


def _come(meta: dict) -> tuple[float, float]:
    """How far a checkpoint has come, whatever length was planned: epochs, iterations.

    The share that is done would fall when a longer training is made of one.
    """
    run = meta['run'] if isinstance(meta.get('run'), dict) else {}
    come = run.get('progress', meta.get('epoch')), meta.get('iter')
    if {'epoch', 'seen', 'files'} <= run.keys():
        come = run['epoch'] + run['seen'] / max(run['files']['number'], 1), come[1]
    epochs, iterations = (n if isinstance(n, int | float) else 0 for n in come)
    return epochs, iterations


def _is_whole(path: Path) -> bool:
    try:
        return is_whole(path)
    except OSError:
        return False


def _damaged(path: Path) -> str:
    return f'{path.name} is damaged and passed over.'


def _read_last_checkpoint(folders: list[Path], notes: list[str]) -> Path | None:
    """Find the file that ``last_checkpoint`` names, if it is one of these folders'."""
    try:
        text = (folders[0] / LAST_CHECKPOINT).read_text(errors='replace')
    except FileNotFoundError:
        return None
    except OSError as error:
        notes.append(f'{LAST_CHECKPOINT} cannot be read ({error.strerror}): ignored.')
        return None
    text = text.replace('\0', '').strip()  # what a power cut leaves of a file
    if not text:
        notes.append(f'{LAST_CHECKPOINT} is empty: ignored.')
        return None
    path = folders[0] / text
    for folder in folders:
        if os.path.realpath(path.parent) == os.path.realpath(folder):
            if os.path.isfile(path):
                return folder / path.name
            notes.append(f'{LAST_CHECKPOINT} names {path.name}, which is gone.')
            return None
    here = [folder / path.name for folder in folders]
    here = [path for path in here if os.path.isfile(path)]
    instead = f'{path.name} of this folder counts' if here else 'ignored'
    notes.append(f'{LAST_CHECKPOINT} names {text}, outside this folder: {instead}.')
    return here[0] if here else None


def _by_preference(places: list[_Place], named: Path | None) -> Iterator[_Place]:
    """The run that goes on first, each run from its farthest place on."""
    left = sorted(places, key=lambda place: (place.time, place.progress))
    start = next((place for place in left if place.path == named), None)
    while left:
        # what a run left behind when it went back is farther, but older
        since, run = (start.time, start.run) if start else ('', left[-1].run)
        yield from sorted(
            (place for place in left if place.run == run),
            # of two at the same place the one that was written last, which is named
            key=lambda place: (place.time >= since, place.progress, place == start),
            reverse=True,
        )
        left, start = [place for place in left if place.run != run], None


class WorkDirLock:
    """Lets one run at a time have a work dir; to be held by the main process.

    The lock is the kernel's: it ends with the process, however that ends, and worker
    processes do not inherit it. Without POSIX locks (on Windows, on some network
    shares) nothing is locked. Reading ``.lock`` in the process that holds it ends the
    lock, too.

    Args:
        work_dir: Made if it is not there.
    """

    #: Process and file by folder: a lock lives on if nobody keeps its object.
    _held: ClassVar[dict[str, tuple[int, IO[str]]]] = {}

    def __init__(self, work_dir: str | Path) -> None:
        self.work_dir = Path(work_dir)
        self._key = os.path.realpath(work_dir)
        self._has_it = False

    def acquire(self) -> None:
        """Lock the folder.

        Raises:
            ValueError: If another run has it.
        """
        try:
            import fcntl
        except ImportError:  # not POSIX
            return
        # the kernel lets a process have its own lock twice, and a fork lets a child
        # inherit what we remember, not the lock
        if self._held.get(self._key, (None,))[0] == os.getpid():
            self._refuse(f'process {os.getpid()}, this one')
        self.work_dir.mkdir(parents=True, exist_ok=True)
        file = open(self.work_dir / '.lock', 'a+')
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            holder = file.read().strip()
            file.close()
            self._refuse(holder or 'another process')
        except OSError:  # a file system without locks
            file.close()
            return
        self._held[self._key], self._has_it = (os.getpid(), file), True
        with suppress(OSError):  # a full disk: then the holder is not named
            file.truncate(0)
            file.write(f'process {os.getpid()} on {socket.gethostname()}')
            file.flush()

    def _refuse(self, holder: str) -> NoReturn:
        raise ValueError(
            f'{self.work_dir} is in use by another run ({holder}): give this one '
            'another --work-dir, or wait until that one has ended.'
        )

    def release(self) -> None:
        """Unlock the folder; without effect if it is not locked by this object."""
        if self._has_it:
            self._has_it = False
            with suppress(OSError):
                self._held.pop(self._key)[1].close()

    def __enter__(self) -> 'WorkDirLock':
        """Lock the folder; see :meth:`acquire`."""
        self.acquire()
        return self

    def __exit__(self, *error) -> None:
        """Unlock the folder."""
        self.release()
