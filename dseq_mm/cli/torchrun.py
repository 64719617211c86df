"""``torch.distributed.run`` with one line for a user's error.

PyTorch's launcher adds a traceback of its own to the error of a process, and has exit
status 1 whatever the process had. This one gives back the status; its report stays for
what is no user's error. More processes than the machine has room for are refused
before any is started. The tools' ``dist_*.sh`` use it.
"""

import logging
import os
import sys

import torch
from torch.distributed import run
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from ..utils.command import USER_ERROR

#: What the processes have said themselves: user's errors, interrupted trainings.
_TOLD = (75, USER_ERROR)


def main(argv: list[str] | None = None) -> int:
    """Start the processes and wait for them.

    Args:
        argv: Arguments of ``torch.distributed.run``; those of the process by default.

    Returns:
        The exit status of the processes, 0 if all is well.
    """
    argv = sys.argv[1:] if argv is None else argv
    number = _option(argv, 'nproc_per_node')
    try:
        check_processes(int(number) if number.isdecimal() else 1, 'GPUS is')
    except ValueError as error:
        print(f'error: {error}', file=sys.stderr)
        return USER_ERROR
    logging.disable(logging.ERROR)  # the agent's reports of each process
    try:
        run.main(argv)
    except ChildFailedError as error:
        statuses = [failure.exitcode for failure in error.failures.values()]
        told = [status for status in _TOLD if status in statuses]
        if told:
            return told[0]
        print(error, file=sys.stderr)
        status = error.get_first_failure()[1].exitcode
        return status if status > 0 else 128 - status
    except RuntimeError as error:  # of the rendezvous
        if not _is_busy(error):
            raise
        port = _option(argv, 'master_port')
        print(
            f'error: port {port} of this machine is in use: name a free one, as in '
            f'PORT={int(port or 29500) + 1}',
            file=sys.stderr,
        )
        return USER_ERROR
    return 0


def check_processes(number: int, name: str) -> None:
    """Make sure that a machine has a GPU, or without any a core, for each process.

    Two are taken everywhere: to try what several processes do.

    Args:
        number: Processes on this machine.
        name: What the user has given the number by.

    Raises:
        ValueError: If there are more, with the number that there is.
    """
    gpus, cores = torch.cuda.device_count(), os.cpu_count() or 1
    if number > (gpus or max(2, cores)):
        there = f'{gpus}' if gpus else f'0, that of cores {cores}'
        raise ValueError(f'{name} {number}: the number of GPUs here is {there}')


def _option(argv: list[str], name: str) -> str:
    return next((a.partition('=')[2] for a in argv if name in a), '')


def _is_busy(error: Exception) -> bool:
    text = str(error).lower()
    return 'eaddrinuse' in text or 'address already in use' in text


if __name__ == '__main__':
    sys.exit(main())
