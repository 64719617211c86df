"""From masks to the tensors of a plan, and places of tokens by index.

Tokens stand in front, padding behind. Loops are compiled by numba.

Shape legend: ``B`` images, ``R`` plan rows, ``P`` patches, ``S`` prediction steps,
``Lc`` context and ``Lt`` target slots, ``G`` targets of the largest group, ``D``
channels. Padding slots hold -1.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
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


def move_together(tensors: list[Tensor], device: torch.device) -> list[Tensor]:
    """Move tensors from the host to a device, in one copy that it does not wait for.

    Args:
        tensors: Of any types and shapes.
        device: Where they are needed.

    Returns:
        The same there.
    """
    parts, places, size = [], [], 0
    for tensor in tensors:
        part = tensor.contiguous().flatten().view(torch.uint8)
        places.append(size)
        parts.append(F.pad(part, (0, -len(part) % 8)))  # each begins at a whole number
        size += len(parts[-1])
    together = torch.cat(parts)
    if device.type == 'cuda':
        together = together.pin_memory()
    together = together.to(device, non_blocking=True)
    storage, moved = together.untyped_storage(), []
    for start, tensor in zip(places, tensors, strict=True):
        # no views of one base: a compiler would ask how they are related
        there = torch.empty(0, dtype=tensor.dtype, device=device)
        shape = tensor.shape, tensor.new_empty(tensor.shape).stride()
        moved.append(there.set_(storage, start // tensor.element_size(), *shape))
    return moved


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


def group_sizes(target_step: Tensor, num_steps: int) -> Tensor:
    """Count the targets of each step.

    Args:
        target_step: ``(R, Lt)``.
        num_steps: ``S``.

    Returns:
        ``(R, S)``, int64.
    """
    steps = torch.arange(1, num_steps + 1, device=target_step.device)
    return (target_step[:, None, :] == steps[:, None]).sum(-1)


def group_slots(sizes: Tensor, longest: int) -> Tensor:
    """Find the target slots of each step.

    Args:
        sizes: See :func:`group_sizes`, ``(R, S)``.
        longest: ``G``.

    Returns:
        ``(R, S, G)``, -1 pads a group.
    """
    first = sizes.cumsum(-1) - sizes  # (R, S)
    offset = torch.arange(longest, device=sizes.device)
    return torch.where(offset < sizes[..., None], first[..., None] + offset, -1)


def rolled_rows(target_step: Tensor, num_steps: int, longest: int) -> Tensor:
    """Find what was computed for each target slot in an unrolled plan.

    Args:
        target_step: ``(R, Lt)``.
        num_steps: ``S``.
        longest: ``G``.

    Returns:
        Rows of ``(R * S * G, D)`` vectors, ``(R, Lt)``; any row at padding.
    """
    step = target_step.clamp(min=1) - 1  # (R, Lt)
    sizes = group_sizes(target_step, num_steps)  # (R, S)
    first = (sizes.cumsum(-1) - sizes).gather(1, step)  # (R, Lt)
    slot = torch.arange(step.shape[1], device=step.device) - first
    row = torch.arange(len(step), device=step.device)[:, None] * num_steps + step
    return row * longest + slot.clamp(0, longest - 1)


def patch_rows(ids: Tensor, num_patches: int, rows_per_sample: int) -> Tensor:
    """Find the patches of each plan row among those of all images.

    Args:
        ids: Patch indices, ``(R, L)``.
        num_patches: ``P``.
        rows_per_sample: ``R / B``.

    Returns:
        Rows of ``(B * P, D)`` tokens, ``(R, L)``; patch 0 at padding.
    """
    image = torch.arange(len(ids), device=ids.device) // rows_per_sample
    return image[:, None] * num_patches + ids.clamp(min=0)


def mean_of_members(tokens: Tensor, member: Tensor) -> Tensor:
    """Average tokens over sets of them.

    Args:
        tokens: ``(R, L, D)``; what is in no set may be anything, NaN too.
        member: ``(R, S, L)``, bool.

    Returns:
        ``(R, S, D)``, zeros for an empty set.
    """
    # 0 * nan is nan: what is in no set must not even be multiplied
    tokens = tokens.masked_fill(~member.any(1)[..., None], 0.0)
    size = member.sum(-1, keepdim=True).clamp(min=1)
    return member.to(tokens.dtype) @ tokens / size
