"""From keys to the tensors of a plan: tokens in front, padding behind.

A key ``step * P + patch`` says all of a token, and sorts tokens by step, then in raster
order.

Shape legend: ``R`` plan rows, ``P`` patches, ``S`` prediction steps, ``M`` and ``N``
candidates for context and target tokens, ``Lc`` context and ``Lt`` target slots.
Padding slots hold -1.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor


class TokenCounts(NamedTuple):
    """Real (non-padding) tokens of a plan over all rows, known on the host.

    Args:
        context: Context tokens.
        target: Target tokens.
        unrolled_context: Context tokens once the plan is unrolled.
        groups: Target groups that are not empty.
    """

    context: int
    target: int
    unrolled_context: int
    groups: int


def pack_tokens(
    context_key: Tensor,
    context: Tensor,
    target_key: Tensor,
    target: Tensor,
    sizes: Tensor,
    num_patches: int,
) -> dict[str, Any]:
    """Pack the tokens of a plan. The one time that a step waits for the device.

    Args:
        context_key: ``(R, M)``, int64.
        context: Which of them are context tokens, ``(R, M)``, bool.
        target_key: ``(R, N)``, int64, steps from 1.
        target: Which of them are target tokens, ``(R, N)``, bool.
        sizes: Target tokens of each step, ``(R, S)``.
        num_patches: ``P``.

    Returns:
        Fields of :class:`~dseq_mm.plan.PredictionPlan`: ``(R, Lc)`` and ``(R, Lt)``
        as long as the longest row, and what is known of them on the host.
    """
    num_steps = sizes.shape[1]
    contexts = context.sum(-1)  # (R,)
    # a token of step s is re-encoded by the steps after it, s + 1 to S
    repeats = torch.where(context, num_steps - context_key // num_patches, 0)
    lengths = torch.stack(
        [contexts.max(), sizes.sum(-1).max(), sizes.max(), contexts.sum()]
        + [sizes.sum(), repeats.clamp(min=0).sum(), (sizes > 0).sum()]
    )
    num_context, num_targets, group_length, *tokens = lengths.tolist()
    context_ids, context_step = _pack(context_key, context, num_context, num_patches)
    target_ids, target_step = _pack(target_key, target, num_targets, num_patches)
    return dict(
        context_ids=context_ids,
        context_step=context_step,
        target_ids=target_ids,
        target_step=target_step,
        num_patches=num_patches,
        num_steps=num_steps,
        group_length=group_length,
        tokens=TokenCounts(*tokens),
    )


def _pack(key: Tensor, wanted: Tensor, length: int, num_patches: int):
    """Sort the wanted keys ``step * P + patch`` to the front and split them.

    Args:
        key: ``(R, M)``, int64.
        wanted: ``(R, M)``, bool, at most ``length`` per row.
        length: Slots to keep.
        num_patches: ``P``.

    Returns:
        Patch indices and steps, each ``(R, length)``, -1 pads.
    """
    beyond = torch.iinfo(torch.int64).max
    packed = torch.where(wanted, key, beyond).sort(dim=1).values[:, :length]
    real = packed < beyond
    return (
        torch.where(real, packed % num_patches, -1),
        torch.where(real, packed // num_patches, -1),
    )
