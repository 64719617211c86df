"""Plain loops over the images of a batch, compiled by numba and run on threads.

A cached function does not notice that another file, which it calls, has changed: a
compiled function calls those of its own file alone.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from .utils.machine import usable_cores

try:
    import numba
except ImportError as error:
    raise ImportError(
        'the loops over regions and plans are compiled by numba, which is not there: '
        'pip install numba'
    ) from error

# Fewer images than this are not worth a thread.
_SHARE = 16
_MOST_THREADS = 8


def compiled(function: Callable) -> Callable:
    """Compile a function at its first call; later processes find it in the cache.

    Args:
        function: Loops over arrays and numbers.

    Returns:
        The compiled function. It lets other threads run meanwhile.
    """
    return numba.njit(cache=True, nogil=True, error_model='numpy')(function)


def threads_of_process() -> int:
    """Count the threads that loops of this process may take.

    Returns:
        The cores that it may run on, shared by the processes of this machine, at most
        eight; at least 1. ``DSEQ_THREADS`` sets another number.
    """
    wanted = os.environ.get('DSEQ_THREADS', '')
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    processes = os.environ.get('LOCAL_WORLD_SIZE', '1')  # torchrun tells it
    share = usable_cores() // max(1, int(processes) if processes.isdigit() else 1)
    return max(1, min(share, _MOST_THREADS))


def each_image(loops: Callable[..., None], count: int, *arguments: Any) -> None:
    """Run compiled loops over all images of a batch.

    Args:
        loops: ``loops(first, last, *arguments)`` works on the images ``first`` to
            ``last - 1``, each by itself, so that threads change no result.
        count: Number of images.
        *arguments: Arrays and numbers, the same for all threads.
    """
    threads = min(threads_of_process(), max(1, count // _SHARE))
    if threads == 1:
        loops(0, count, *arguments)
        return
    bounds = [count * part // threads for part in range(threads + 1)]
    jobs = [
        _pool(os.getpid()).submit(loops, first, last, *arguments)
        for first, last in zip(bounds[:-1], bounds[1:], strict=True)
    ]
    for job in jobs:
        job.result()


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads of this process; a forked one inherits none, so it makes its own."""
    return ThreadPoolExecutor(_MOST_THREADS, f'dseq-{process}')
