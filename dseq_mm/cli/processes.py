"""Several processes: how they begin and end."""

import gc
import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import barrier, get_rank, is_distributed

from ..utils.configs import bare_type
from .torchrun import check_processes

#: What each launcher sets in the environment of its processes, for mmengine.
_VARIABLES = dict(
    pytorch=('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'),
    slurm=('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST'),
    mpi=('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'MASTER_ADDR'),
)
_SCRIPTS = dict(
    pytorch='tools/dist_train.sh or tools/dist_test.sh',
    slurm='tools/slurm_train.sh',
    mpi='mpirun, with MASTER_ADDR set,',
)


def check_launcher(launcher: str) -> None:
    """Make sure that the process was started by its launcher.

    Args:
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.

    Raises:
        ValueError: If what the launcher sets is missing, or there are more processes
            than GPUs, or than cores where there are none.
    """
    missing = [n for n in _VARIABLES.get(launcher, ()) if n not in os.environ]
    if missing and not is_distributed():
        raise ValueError(
            f'--launcher {launcher} is for processes that {_SCRIPTS[launcher]} starts; '
            f'{", ".join(missing)} not set'
        )
    if launcher == 'pytorch':
        number = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
        check_processes(number, 'the number of processes is')


def prepare_distributed(cfg: Config, launcher: str) -> list[str]:
    """Set the launcher and, without a GPU, what mmengine cannot do itself.

    mmengine picks a CUDA device before it makes any process group, and hands a device
    number to DistributedDataParallel; both fail on the CPU. So the gloo group is made
    here, which mmengine then keeps, and the wrapper is told that there is no device.
    Nor does PyTorch's synchronized batch norm run there.

    Args:
        cfg: Changed in place.
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.

    Returns:
        Lines for the log.

    Raises:
        ValueError: If several processes without GPU come from another launcher than
            PyTorch's.
    """
    cfg.launcher = launcher
    if launcher == 'none' or torch.cuda.is_available():
        return []
    if launcher != 'pytorch':
        raise ValueError(
            f'--launcher {launcher} needs GPUs. Several processes on the CPU are '
            'started by tools/dist_train.sh or tools/dist_test.sh.'
        )
    if not is_distributed():
        timeout = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout', 1800)
        torch.distributed.init_process_group('gloo', timeout=timedelta(seconds=timeout))
    given = cfg.get('model_wrapper_cfg') or {}
    if bare_type(given) in ('', 'MMDistributedDataParallel'):
        wrapper = dict(
            type='MMDistributedDataParallel',
            # mmengine's own values where no wrapper is configured
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )
        cfg.model_wrapper_cfg = {**wrapper, **given, 'device_ids': None}
    if not _replace_sync_bn(cfg.get('model')):
        return []
    return [
        'SyncBN needs GPUs and was replaced by BN: each process normalizes by the '
        'statistics of its own images.'
    ]


def process_rank() -> int:
    """Tell which of the processes this is, before there is a process group too.

    Returns:
        Its number; 0 where there is one process.
    """
    if is_distributed():
        return get_rank()
    names = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')
    return int(next((os.environ[n] for n in names if n in os.environ), 0))


def _replace_sync_bn(node: Any) -> bool:
    """Make each SyncBN in a part of a config BN; whether there was one."""
    if isinstance(node, list | tuple):
        return any([_replace_sync_bn(item) for item in node])
    if not isinstance(node, dict):
        return False
    found = bare_type(node) == 'SyncBN'
    if found:
        node['type'] = 'BN'
    return any([found, *[_replace_sync_bn(value) for value in node.values()]])


def leave_group() -> None:
    """End the process group, if there is one, when all processes are done with it."""
    if is_distributed():
        barrier()
        # a runner that waits for the collector keeps gloo's threads alive, and one of
        # them that drops a tensor while Python ends aborts the process
        gc.collect()
        torch.distributed.destroy_process_group()


def check_devices(
    devices: Sequence[str], count: int, visible: str | None = None
) -> None:
    """Make sure that runs get the devices that the user means.

    Args:
        devices: What each run at a time sees, as for ``CUDA_VISIBLE_DEVICES``.
        count: Number of GPUs.
        visible: ``CUDA_VISIBLE_DEVICES`` of this process.

    Raises:
        ValueError: A device does not exist, stands there twice, or the entries name
            different numbers of devices.
    """
    allowed = [str(number) for number in range(count)]
    if visible is not None:
        allowed = [name.strip() for name in visible.split(',') if name.strip()]
    named = [name for entry in devices for name in entry.split(',')]
    unknown = [name for name in named if name not in allowed]
    given = f'--devices {" ".join(devices)}'
    if unknown:
        raise ValueError(
            f'{given}: there is no GPU {", ".join(map(repr, unknown))}; there are: '
            f'{", ".join(allowed) or "none"}. Without GPUs use --jobs.'
        )
    if len(set(named)) < len(named):
        raise ValueError(f'{given}: name each GPU once')
    if len({entry.count(',') for entry in devices}) > 1:
        raise ValueError(
            f'{given}: give every run as many GPUs, since batch and learning rate '
            'follow their number'
        )
