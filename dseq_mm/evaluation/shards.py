"""Features that lie in the processes that extracted them: what is asked of all.

Shape legend: ``n`` images of a data set, ``m`` of one process, ``R`` processes, ``c``
rows that each process hands round. Process ``r`` has the images r, r + R, r + 2R, ...
With one process nothing is communicated.
"""

from collections.abc import Mapping

import torch
from mmengine.dist import all_gather, all_reduce, get_rank, get_world_size
from torch import Tensor

Shard = Mapping[str, Tensor | None]


def own_rows(shard: Shard, size: int) -> dict[str, Tensor | None]:
    """Leave out what the sampler has added to make all shards of one length.

    Args:
        shard: Rows ``(m, ...)`` of this process.
        size: ``n``.

    Returns:
        The same without images that another process has.
    """
    count = len(range(get_rank(), size, get_world_size()))
    return {
        name: None if value is None else value[:count] for name, value in shard.items()
    }


def gather_shards(shard: Shard, size: int) -> dict:
    """Join what all processes have extracted, in dataset order.

    Args:
        shard: Rows ``(m, ...)`` of this process, padding included, with the same
            entries in all processes.
        size: ``n``.

    Returns:
        The same of the whole dataset, ``(n, ...)``, on all processes.
    """
    return {
        name: None if value is None else _gather(value, size)
        for name, value in shard.items()
    }


def _gather(shard: Tensor, size: int) -> Tensor:
    if get_world_size() == 1:
        return shard[:size]
    joined = torch.stack(all_gather(shard), dim=1)  # (m, R, ...)
    return joined.flatten(0, 1)[:size]  # (m, R, ...) -> (m * R, ...) -> (n, ...)


def total(value: Tensor) -> Tensor:
    """Sum a tensor over all processes.

    Args:
        value: Of one shape in all processes.

    Returns:
        The sum, bitwise the same in all.
    """
    value = value.clone()
    all_reduce(value)
    return value


def count(rows: Tensor) -> int:
    """Count the rows of all processes.

    Args:
        rows: Those of this process, ``(m, ...)``.

    Returns:
        ``n``.
    """
    return int(total(torch.tensor(len(rows), device=rows.device)))


def highest(value: int) -> int:
    """Find the highest of a number that each process has.

    Args:
        value: That of this process, or whether something is so.

    Returns:
        The highest.
    """
    found = torch.tensor(int(value))
    all_reduce(found, 'max')
    return int(found)


def hand_round(rows: Tensor, length: int) -> Tensor:
    """Give rows of each process to all.

    Args:
        rows: At most ``c`` of this process; fewer are filled up with zeros.
        length: ``c``, the same in all processes.

    Returns:
        ``(R, c, ...)``.
    """
    filled = rows.new_zeros(length, *rows.shape[1:])
    filled[: len(rows)] = rows
    return torch.stack(all_gather(filled))
