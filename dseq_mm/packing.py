"""From masks to the tensors of a plan: tokens in front, padding behind, on the host.

Plain loops, compiled by numba.

Shape legend: ``R`` plan rows, ``P`` patches, ``S`` prediction steps, ``Lc`` context and
``Lt`` target slots. Padding slots hold -1.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .compiled import compiled


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
    context_step: Tensor, target_masks: Tensor, num_context_steps: int
) -> dict[str, Any]:
    """Pack the tokens of a plan: by step, then in raster order.

    Args:
        context_step: Step at which each patch becomes visible, negative where it never
            does, ``(R, P)``, int64.
        target_masks: Patches to be predicted at steps 1 to ``S``, ``(R, S, P)``, bool.
        num_context_steps: Upper bound (exclusive) of ``context_step``.

    Returns:
        Fields of :class:`~dseq_mm.plan.PredictionPlan` on the host: ``(R, Lc)`` and
        ``(R, Lt)`` as long as the longest row, and what is known of them.

    Raises:
        ValueError: If a context step is out of range.
    """
    _, num_steps, num_patches = target_masks.shape
    step, masks = context_step.numpy(), target_masks.numpy()
    if step.size and step.max() >= num_context_steps:
        raise ValueError(
            f'context_step {step.max()} must lie below num_context_steps='
            f'{num_context_steps}'
        )
    sizes = masks.sum(-1)  # (R, S)
    seen = step >= 0
    contexts, targets = seen.sum(-1), sizes.sum(-1)  # (R,) each
    context = np.full((2, len(step), contexts.max(initial=0)), -1)
    target = np.full((2, len(step), targets.max(initial=0)), -1)
    _pack(step, masks, num_context_steps, *context, *target)
    # a token of step s is re-encoded by the steps after it, s + 1 to S
    repeats = np.where(seen, num_steps - step, 0).clip(min=0)
    return dict(
        context_ids=torch.from_numpy(context[0]),
        context_step=torch.from_numpy(context[1]),
        target_ids=torch.from_numpy(target[0]),
        target_step=torch.from_numpy(target[1]),
        num_patches=num_patches,
        num_steps=num_steps,
        group_length=int(sizes.max(initial=0)),
        tokens=TokenCounts(
            context=int(contexts.sum()),
            target=int(targets.sum()),
            unrolled_context=int(repeats.sum()),
            groups=int((sizes > 0).sum()),
        ),
    )


@compiled
def _pack(step, masks, num_steps, context_ids, context_step, target_ids, target_step):
    """Write the patches and steps of each row into its first slots."""
    for row in range(len(step)):
        slot = 0
        for now in range(num_steps):
            for patch in range(step.shape[1]):
                if step[row, patch] == now:
                    context_ids[row, slot] = patch
                    context_step[row, slot] = now
                    slot += 1
        slot = 0
        for now in range(masks.shape[1]):
            for patch in range(step.shape[1]):
                if masks[row, now, patch]:
                    target_ids[row, slot] = patch
                    target_step[row, slot] = now + 1
                    slot += 1
