"""What all command-line tools share: how their arguments are wrong, how they end.

A user's error is one line on stderr and exit status 2, with a traceback if ``--debug``
is among the arguments. What breaks after the first step of a training, which no user
could have avoided, keeps its traceback and has status 1.

Nothing is imported here but Python's own modules: the doctor uses it.
"""

import argparse
import io
import os
import re
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

#: Exit status of a user's error, as argparse has it.
USER_ERROR = 2
_PACKAGE = Path(__file__).resolve().parents[1]
_DEBUG = '--debug'
#: Errors that are sentences where this package raises them.
_SENTENCES = (ValueError, OSError, RuntimeError)
_RANKS = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')
#: Seconds that other processes wait before they say what the first one says, too.
_PATIENCE = 3


class _Work:
    """Whether the work goes on, with its first step behind it."""

    begun = False


def begin_work() -> None:
    """Note that all is built and has worked: what fails from now on is unexpected."""
    _Work.begun = True


def work_has_begun() -> bool:
    """Tell whether the first step is done.

    Returns:
        True if it is.
    """
    return _Work.begun


class _Program:
    """What the user calls the program; empty where that is the name of its file."""

    name = ''


def name_program(name: str) -> None:
    """Set the name that a program has in what it says of itself.

    Args:
        name: Such as ``'dseq-mm train'``.
    """
    _Program.name = name


class Parser(argparse.ArgumentParser):
    """A parser with ``--debug``, whose errors are one line with the nearest option."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **{'prog': _program(), **kwargs})
        self.add_argument(
            _DEBUG, action='store_true', help='show the traceback of an error'
        )

    def error(self, message: str) -> NoReturn:
        """End with one line and status 2.

        Args:
            message: What is wrong.
        """
        words = message.partition('unrecognized arguments: ')[2].split()
        known = [name for name in self._option_string_actions if name[:2] == '--']
        for word in words:
            if word[:2] == '--' and (near := nearest(word.partition('=')[0], known)):
                message += f'; did you mean {near}?'
                break
        line = _one_line(message)
        self.exit(USER_ERROR, f'{self.prog}: error: {line} (usage: --help)\n')


def whole_number(least: int, most: int = 2**31 - 1) -> Callable[[str], int]:
    """Make a ``type`` for a parser's argument.

    Args:
        least: Smallest number allowed.
        most: Largest number allowed; by default what torch can count.

    Returns:
        A function that reads such a number.
    """

    def read(text: str) -> int:
        """Read a number; argparse reports what is wrong."""
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(
                f'{text} is no whole number from {least} to {most}'
            )
        return number

    return read


#: Seeds that all random generators take.
SEED = whole_number(0, 2**32 - 1)


def seed_list(text: str) -> list[int]:
    """Read a list of seeds.

    Args:
        text: Numbers, separated by commas.

    Returns:
        The seeds.

    Raises:
        argparse.ArgumentTypeError: One is no number, negative or there twice.
    """
    parts = [part.strip() for part in text.split(',')]
    seeds = [int(part) for part in parts if part.isdecimal()]
    if len(set(seeds)) < len(parts) or max(seeds) >= 2**32:
        raise argparse.ArgumentTypeError(f'{text}: give numbers once, such as 0,1,2')
    return seeds


def check_folder(path: str | Path, option: str) -> None:
    """Make sure that a folder is there or can be made, and be written to.

    Args:
        path: The folder.
        option: What names it.

    Raises:
        ValueError: If it cannot.
    """
    path = Path(path).expanduser()
    there = next(p for p in (path, *path.absolute().parents) if os.path.lexists(p))
    if not there.is_dir():
        raise ValueError(f'{option} {path}: {there} is no folder')
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f'{option} {path}: {there} may not be written to')


def check_output(path: str | Path, option: str) -> None:
    """Make sure that a file can be written.

    Args:
        path: The file; its folder may have to be made.
        option: What names it.

    Raises:
        ValueError: If it cannot.
    """
    path = Path(path).expanduser()
    if path.is_dir() or str(path) in ('', '.'):
        raise ValueError(f'{option} {path} is a folder: name a file')
    check_folder(path.absolute().parent, option)
    if path.exists() and not os.access(path, os.W_OK):
        raise ValueError(f'{option} {path} may not be written to')


@contextmanager
def quietly() -> Iterator[None]:
    """Import libraries without what they print of parts that nobody asked for.

    Yields:
        Nothing.
    """
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter('ignore')
        yield


def nearest(name: str, names: Iterable[str], cutoff: float = 0.6) -> str:
    """Find the name that was meant.

    Args:
        name: What was written.
        names: The names that there are.
        cutoff: Likeness that is asked for, from 0 to 1.

    Returns:
        The nearest one; empty if none is near.
    """
    return next(iter(get_close_matches(name, sorted(names), 1, cutoff)), '')


def run(main: Callable[[Sequence[str]], int | None], argv: list[str] | None = None):
    """Run a tool, and end as all of them do.

    Args:
        main: Takes the arguments, gives back an exit status or None for 0.
        argv: The arguments; those of the process by default.

    Returns:
        The exit status.
    """
    argv = sys.argv[1:] if argv is None else argv
    _Work.begun = False
    # OpenMMLab's own MMEngine imports it on purpose: nobody can act on that
    warnings.filterwarnings('ignore', 'pkg_resources is deprecated')
    try:
        return main(argv) or 0
    except KeyboardInterrupt:
        print(f'{_program()}: interrupted', file=sys.stderr)
        return 130
    except Exception as error:
        if _Work.begun and not is_told(error):
            traceback.print_exc()
            return _leave(1)
        if _rank() > 0:  # the launcher ends us if the first one says it
            time.sleep(_PATIENCE)
        if _DEBUG in argv:
            traceback.print_exc()
        print(f'{_program()}: error: {explain(error)}', file=sys.stderr)
        return _leave(USER_ERROR)


def explain(error: BaseException, place: str = '') -> str:
    """Say in one line what an error says.

    Args:
        error: The error.
        place: What it is in, for an error that is not of our making.

    Returns:
        Its text; of one that is not of our making with its type, if that helps.
    """
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else ''
    text = text or str(error)
    if ' in DataLoader worker process' in text:
        text = text.rstrip().splitlines()[-1].partition(': ')[2] or text
    text = _one_line(text)
    if isinstance(error, OSError) and error.filename and error.strerror:
        text = f'{error.filename}: {error.strerror}'
    ours = _raised_here(error)
    if isinstance(error, (*_SENTENCES, ImportError)) and ours:
        return text
    name = type(error).__name__
    if isinstance(error, AssertionError) and not text:
        text = traceback.extract_tb(error.__traceback__)[-1].line or ''
    known = text and isinstance(error, ValueError | OSError | ImportError)
    text = text if known else f'{name}: {text}' if text else name
    return f'{text} ({place and f"in {place}; "}{_DEBUG} shows where)'


def _one_line(text: str) -> str:
    return ' '.join(text.split())


def is_told(error: Exception) -> bool:
    """Tell whether an error is a sentence for the user, not an accident of the code.

    Args:
        error: The error.

    Returns:
        True if we raised it, or a file is missing.
    """
    if isinstance(error, FileNotFoundError):
        return True
    if type(error).__module__.partition('.')[0] == _PACKAGE.name:
        return True
    return isinstance(error, _SENTENCES) and _raised_here(error)


def _raised_here(error: BaseException) -> bool:
    """Whether this package, or a project, raised an error; maybe in a worker."""
    if ' in DataLoader worker process' in str(error):
        files = re.findall(r'File "([^"]+)", line', str(error))
    else:
        files = [f.filename for f in traceback.extract_tb(error.__traceback__)]
    if not files:
        return False
    place = Path(files[-1]).resolve()
    if place.is_relative_to(_PACKAGE) or place.parent.name == 'tools':
        return True
    return 'projects' in (place.parent.name, place.parent.parent.name)


def _rank() -> int:
    number = next((os.environ[n] for n in _RANKS if n in os.environ), '0')
    return int(number) if number.isdecimal() else 0


def _program() -> str:
    return _Program.name or os.path.basename(sys.argv[0]) or 'dseq_mm'


def _leave(status: int) -> int:
    """Give back a status; of several processes, do not wait for the others."""
    distributed = sys.modules.get('torch.distributed')
    if distributed and distributed.is_available() and distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def say(line: str) -> None:
    """Print a line at once.

    Args:
        line: What to print.
    """
    print(line, flush=True)
