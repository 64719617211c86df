"""Who sees whom in a transformer layer, and where the real tokens are.

Shape legend: ``R`` plan rows, ``L`` token slots of a row, ``T`` real tokens of all
rows, ``D`` channels.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Visibility(NamedTuple):
    """Who sees whom, and where the real tokens are.

    Transformer layers run their linear parts on the real tokens alone, ``(T, D)``, and
    pad only inside attention, so padding costs next to nothing.

    Args:
        mask: ``(R, L, L)``, bool, True where the row's token sees the column's. The
            diagonal is True, so that a padding query is well defined.
        slots: Place of each real token among the ``R * L`` slots, ``(T,)``, or None
            if tokens are kept padded.
    """

    mask: Tensor
    slots: Tensor | None = None

    def pad(self, tokens: Tensor) -> Tensor:
        """Put packed tokens into their slots.

        Args:
            tokens: ``(T, D)``, or padded ``(R, L, D)`` where ``slots`` is None.

        Returns:
            ``(R, L, D)``, zero at padding.
        """
        if self.slots is None:
            return tokens
        rows, length = self.mask.shape[:2]
        padded = tokens.new_zeros(rows * length, tokens.shape[-1])
        # (R * L, D) -> (R, L, D)
        return padded.index_copy(0, self.slots, tokens).unflatten(0, (rows, length))

    def pack(self, tokens: Tensor) -> Tensor:
        """Take the real tokens out of their slots.

        Args:
            tokens: ``(R, L, D)``.

        Returns:
            ``(T, D)``, or the input where ``slots`` is None.
        """
        if self.slots is None:
            return tokens
        # (R, L, D) -> (R * L, D) -> (T, D)
        return tokens.flatten(0, 1).index_select(0, self.slots)


def real_slots(real: Tensor, count: int) -> Tensor:
    """Find the True entries, without asking the device how many there are.

    Args:
        real: ``(R, L)``, bool.
        count: How many are True.

    Returns:
        ``(count,)``, rising.
    """
    flat = real.flatten()  # (R, L) -> (R * L,)
    place = torch.where(flat, flat.cumsum(0) - 1, count)
    slots = torch.empty(count + 1, dtype=torch.int64, device=real.device)
    index = torch.arange(len(flat), device=real.device)
    return slots.scatter_(0, place, index)[:count]


def diagonal(visible: Tensor) -> Tensor:
    """Make the identity over the last two axes of a mask.

    Args:
        visible: ``(R, L, L)``.

    Returns:
        ``(L, L)``, bool.
    """
    return torch.eye(visible.shape[-1], dtype=torch.bool, device=visible.device)
