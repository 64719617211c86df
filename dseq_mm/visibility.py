"""Who sees whom in a transformer layer, and where the real tokens are.

Shape legend: ``R`` plan rows, ``L`` token slots of a row, ``T`` real tokens of all
rows, ``D`` channels.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Visibility(NamedTuple):
    """Who sees whom, and where the real tokens are.

    Transformer layers run their linear parts on the real tokens alone, ``(T, D)``, and
    pad only inside attention, so padding costs next to nothing.

    Args:
        mask: ``(R, L, L)``, bool, True where the row's token sees the column's; or
            :meth:`additive`. The diagonal is True, so that a padding query is well
            defined.
        slots: Place of each real token among the ``R * L`` slots, ``(T,)``, or None
            if tokens are kept padded.
        starts: Where each row begins among the real tokens, and where the last one
            ends, ``(R + 1,)``, int32; None where something is hidden inside of a row.
    """

    mask: Tensor
    slots: Tensor | None = None
    starts: Tensor | None = None

    def additive(self, dtype: torch.dtype) -> 'Visibility':
        """Write the mask as attention adds it to its scores.

        That is done once for all layers: attention would do it in each.

        Args:
            dtype: That of the queries.

        Returns:
            The same with a mask of 0 and minus infinity, its rows aligned to 16 numbers
            as fused kernels want them.
        """
        rows, length = self.mask.shape[:2]
        room = -(-length // 16) * 16
        bias = self.mask.new_full((rows, length, room), -torch.inf, dtype=dtype)
        bias = bias[..., :length].masked_fill_(self.mask, 0.0)
        return self._replace(mask=bias)

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
    return slots.scatter_(0, place, index)[:count].clone()


class Sight(NamedTuple):
    """What decides who sees whom, as numbers of each slot; small, so made on the host.

    A token sees another if that opens no later than its own limit, or if both are of
    one group.

    Args:
        opens: From when on others may see the token, ``(R, L)``, int32.
        limit: How far the token sees, ``(R, L)``, int32.
        group: Tokens that see each other, ``(R, L)``, int32; a negative group is that
            of one slot, which sees itself.
        slots: See :class:`Visibility`.
        starts: See :class:`Visibility`.
    """

    opens: Tensor
    limit: Tensor
    group: Tensor
    slots: Tensor
    starts: Tensor

    def visibility(self, whole: bool) -> Visibility:
        """Write it out for each pair of slots.

        Args:
            whole: Whether all real tokens of a row see each other.

        Returns:
            Visibility over ``(R, L)`` slots.
        """
        mask = self.opens[:, None, :] <= self.limit[:, :, None]  # (R, L, L)
        mask |= self.group[:, None, :] == self.group[:, :, None]
        return Visibility(mask, self.slots, self.starts if whole else None)


_NEVER = torch.iinfo(torch.int32).max


def context_sight(step: Tensor, count: int) -> Sight:
    """Let each token see those of its own step and of earlier ones.

    Args:
        step: ``(R, L)``, -1 at padding.
        count: How many slots are no padding.

    Returns:
        Padding is seen by nothing and sees itself.
    """
    limit = step.int()
    opens = limit.masked_fill(step < 0, _NEVER)
    return Sight(opens, limit, _alone(step), *_places(step >= 0, count))


def predictor_sight(
    context_step: Tensor, target_step: Tensor, both_ways: bool, count: int
) -> Sight:
    """Let targets of a step see each other and the context of earlier steps.

    Args:
        context_step: ``(R, Lc)``, -1 at padding.
        target_step: ``(R, Lt)``, -1 at padding, steps from 1.
        both_ways: Let context see the targets, too: of a plan of one step.
        count: How many slots are no padding.

    Returns:
        That of the context, then of the targets, ``Lc + Lt`` slots.
    """
    step = torch.cat([context_step, target_step], dim=1)
    is_target = torch.arange(step.shape[1], device=step.device) >= context_step.shape[1]
    alone = _alone(step)
    if both_ways:
        limit = torch.where(step >= 0, 1, -1)  # all that is no padding
        opens, group = torch.where(step >= 0, step, _NEVER), alone
    else:
        limit = torch.where(is_target, step - 1, step)
        opens = torch.where(is_target | (step < 0), _NEVER, step)
        group = torch.where(is_target & (step > 0), step.int(), alone)
    return Sight(opens.int(), limit.int(), group, *_places(step >= 0, count))


def _alone(step: Tensor) -> Tensor:
    """Groups of one slot each, ``(R, L)``."""
    slot = torch.arange(step.shape[1], dtype=torch.int32, device=step.device)
    return (-1 - slot).expand_as(step)


def _places(real: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Slots and starts of the real tokens, see :class:`Visibility`."""
    starts = F.pad(real.sum(1).cumsum(0), (1, 0))  # (R + 1,)
    return real_slots(real, count), starts.int()
