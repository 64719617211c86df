"""The prediction plan: which patches are context, which are targets, who sees whom.

Every method of the JEPA family answers that one question, and nothing else differs
between them. A plan is four integer tensors and one rule of visibility:

* a context token of step ``s`` sees the context tokens of steps ``<= s``;
* a target token of step ``s`` sees the context tokens of steps ``< s`` and the target
  tokens of its own step;
* nothing sees padding, and context never sees targets, except in I-JEPA's exact mode
  (``context_sees_targets``), where the context and the targets of one step attend to
  each other in full.

Shape legend: ``B`` images, ``R`` plan rows (``B * rows_per_sample``, sample-major),
``P`` patches of the grid in raster order, ``Lc`` context slots, ``Lt`` target slots,
``S`` prediction steps, ``G`` targets of the largest group, ``K`` class-token copies,
``D`` channels. Padding slots hold -1.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from .movable import Movable
from .packing import TokenCounts, group_sizes, group_slots, mean_of_members, pack_tokens
from .visibility import Visibility


@dataclass(frozen=True)
class PredictionPlan(Movable):
    """Who predicts what, from what, and when (DSeq-JEPA, Eq. 5; I-JEPA, Sec. 3).

    Build one with :meth:`from_ranks` or :meth:`from_masks`; the integers beside the
    tensors are there so that no later stage has to ask the device for a length.

    Args:
        context_ids: Patch index of each context token, ``(R, Lc)``.
        context_step: Step at which it becomes visible, 0 first, ``(R, Lc)``.
        target_ids: Patch index of each target token, ``(R, Lt)``. A patch may stand in
            several groups.
        target_step: Step at which it is predicted, from 1, ``(R, Lt)``, not falling
            along a row.
        num_patches: ``P``.
        num_steps: ``S``.
        num_context_steps: Steps at which context may become visible; with a class token
            there is one copy of it for each.
        group_length: ``G``.
        tokens: Real tokens over all rows.
        rows_per_sample: Plan rows that belong to one image: 1, or ``S`` once unrolled.
        context_sees_targets: Exact I-JEPA mode.
        log: Scalars for the log, by name; set them by ``dataclasses.replace``.

    Raises:
        ValueError: If ``context_sees_targets`` is asked of a plan whose context grows.
    """

    context_ids: Tensor
    context_step: Tensor
    target_ids: Tensor
    target_step: Tensor
    num_patches: int
    num_steps: int
    num_context_steps: int
    group_length: int
    tokens: TokenCounts
    rows_per_sample: int = 1
    context_sees_targets: bool = False
    log: dict[str, Tensor] = field(default_factory=dict, compare=False)
    #: What was derived of the tensors, by name; a changed copy begins without.
    derived: dict[str, Any] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        if self.context_sees_targets and self.num_context_steps != 1:
            raise ValueError(
                'context_sees_targets=True (exact I-JEPA mode) needs a plan whose '
                f'whole context has step 0, this one has {self.num_context_steps} '
                'context steps. Turn it off for sequential plans.'
            )

    @classmethod
    def from_masks(
        cls,
        context_step: Tensor,
        target_masks: Tensor,
        num_context_steps: int,
        context_sees_targets: bool = False,
    ) -> 'PredictionPlan':
        """Pack dense maps into a plan, on the host.

        Args:
            context_step: Step at which each patch becomes visible, -1 where it never
                does, ``(R, P)``, int64. On a device, it is waited for.
            target_masks: Patches to be predicted at steps 1 to ``S``, ``(R, S, P)``,
                bool.
            num_context_steps: Upper bound (exclusive) of ``context_step``.
            context_sees_targets: Exact I-JEPA mode.

        Returns:
            The plan, padded to the longest row of the batch.

        Raises:
            ValueError: If a context step is out of range.
        """
        return cls(
            **pack_tokens(context_step.cpu(), target_masks.cpu(), num_context_steps),
            num_context_steps=num_context_steps,
            context_sees_targets=context_sees_targets,
        )

    @classmethod
    def from_ranks(cls, rank: Tensor, num_ranks: int) -> 'PredictionPlan':
        """Plan a sequence: the patches of each rank are predicted from lower ranks.

        Rank 0 is context from the beginning and no target, the last rank is a target
        and no context.

        Args:
            rank: Rank of each patch, ``(R, P)``, int64. Those outside of ``0`` to
                ``num_ranks - 1`` are neither context nor target. On a device, it is
                waited for.
            num_ranks: Number of ranks, one more than ``S``; at least 2.

        Returns:
            The plan, padded to the longest row of the batch, on the host.

        Raises:
            ValueError: If there are fewer than two ranks, they are of another shape or
                type, or an image has nothing to begin with or nothing to predict.
        """
        if num_ranks < 2:
            raise ValueError(
                'a plan needs two ranks or more, one to predict from and one to be '
                f'predicted, got num_ranks={num_ranks}'
            )
        if rank.dim() != 2 or rank.dtype != torch.int64:
            raise ValueError(
                'ranks are int64, a row of all patches for each image, (R, P); got '
                f'{rank.dtype} of shape {tuple(rank.shape)}'
            )
        rank = rank.cpu()
        for kind, there in (
            ('rank 0, to predict from', rank == 0),
            ('a higher rank, to be predicted', (rank > 0) & (rank < num_ranks)),
        ):
            without = (~there.any(1)).nonzero().flatten().tolist()
            if without:
                raise ValueError(
                    f'row {without[0]} of the ranks has no patch of {kind}: each image '
                    'needs one'
                )
        context = torch.where(rank < num_ranks - 1, rank, -1)
        targets = rank[:, None] == torch.arange(1, num_ranks)[:, None]  # (R, S, P)
        return cls.from_masks(context, targets, num_ranks - 1)

    @property
    def num_samples(self) -> int:
        """``B``, the number of images that the plan is for."""
        return self.context_ids.shape[0] // self.rows_per_sample

    @property
    def has_empty_group(self) -> bool:
        """Whether a step of some image has no target, known on the host."""
        return self.tokens.groups < len(self.context_ids) * self.num_steps

    def context_visibility(self, class_copies: int = 0) -> Visibility:
        """Tell who sees whom in the context encoder.

        Copy ``s`` of the class token stands for step ``s``: it sees what step ``s``
        sees, and tokens of step ``>= s`` see it.

        Args:
            class_copies: ``K``, class-token copies in front of the context.

        Returns:
            Visibility over ``(R, K + Lc)`` slots.
        """
        return self._context_sight(class_copies).visibility(self.num_context_steps == 1)

    def predictor_visibility(self) -> Visibility:
        """Tell who sees whom in the predictor: context tokens first, then targets.

        Returns:
            Visibility over ``(R, Lc + Lt)`` slots.
        """
        assert self.num_steps == 1 or not self.context_sees_targets, 'unroll it before'
        return self._predictor_sight().visibility(self.context_sees_targets)

    def unroll(self) -> 'PredictionPlan':
        """Turn one plan of ``S`` steps into ``S`` plans of one step each.

        The literal reading of Eq. 5: each step re-encodes its own context with full
        attention. Row ``r * S + s - 1`` of the result is step ``s`` of row ``r``.

        Returns:
            The unrolled plan, ``R * S`` rows; ``self`` if it has one step already.
        """
        if self.num_steps == 1:
            return self
        return self._once('unrolled', self._unroll)

    def _unroll(self) -> 'PredictionPlan':
        steps = torch.arange(1, self.num_steps + 1, device=self.context_step.device)
        context_step = self.context_step[:, None, :]  # (R, 1, Lc)
        seen = (context_step >= 0) & (context_step < steps[:, None])  # (R, S, Lc)
        slots = group_slots(
            group_sizes(self.target_step, self.num_steps), self.group_length
        )  # (R, S, G)
        rows = torch.arange(len(slots), device=slots.device)[:, None, None]
        ids = torch.where(slots >= 0, self.target_ids[rows, slots.clamp(min=0)], -1)
        # all (R, S, L) -> (R * S, L)
        return replace(
            self,
            context_ids=torch.where(seen, self.context_ids[:, None], -1).flatten(0, 1),
            context_step=torch.where(seen, 0, -1).flatten(0, 1),
            target_ids=ids.flatten(0, 1),
            target_step=torch.where(ids >= 0, 1, -1).flatten(0, 1),
            num_steps=1,
            num_context_steps=1,
            tokens=self.tokens._replace(context=self.tokens.unrolled_context),
            rows_per_sample=self.rows_per_sample * self.num_steps,
        )

    def roll(self, unrolled: Tensor) -> Tensor:
        """Bring what was computed under ``self.unroll()`` back into this plan's slots.

        Args:
            unrolled: One vector per target slot of the unrolled plan,
                ``(R * S, G, D)``.

        Returns:
            ``(R, Lt, D)``; the vectors of padding slots are arbitrary.
        """
        if self.num_steps == 1:
            return unrolled
        rows = self._rolled_rows()
        # (R * S, G, D) -> (R * S * G, D) -> (R * Lt, D) -> (R, Lt, D)
        taken = unrolled.flatten(0, 1).index_select(0, rows.flatten())
        return taken.unflatten(0, rows.shape)

    def gather(self, tokens: Tensor, ids: Tensor) -> Tensor:
        """Take tokens of each plan row from its image.

        Args:
            tokens: ``(B, P, D)``.
            ids: ``context_ids`` or ``target_ids``, ``(R, L)``.

        Returns:
            ``(R, L, D)``; padding slots repeat patch 0.
        """
        rows = self._patch_rows(ids)
        # (B, P, D) -> (B * P, D) -> (R * L, D) -> (R, L, D)
        taken = tokens.flatten(0, 1).index_select(0, rows.flatten())
        return taken.unflatten(0, ids.shape)

    def target_weights(self) -> Tensor:
        """Compute the weight of each target token in the loss.

        A mean over the patches of a group, then over the groups of a sample, then over
        the samples: so each sample and each of its steps weighs the same, and the
        average of equal batches over processes equals one process.

        Returns:
            ``(R, Lt)``, float32, zero at padding; they sum to one.
        """
        return self._once('weights', self._target_weights)

    def _target_weights(self) -> Tensor:
        sizes = group_sizes(self.target_step, self.num_steps)  # (R, S)
        groups = (sizes > 0).view(self.num_samples, -1).sum(-1)  # (R, S) -> (B,)
        groups = groups.repeat_interleave(self.rows_per_sample)[:, None]  # (R, 1)
        size = sizes.gather(1, self.target_step.clamp(min=1) - 1)  # (R, Lt)
        weight = 1.0 / (size * groups * self.num_samples).clamp(min=1).float()
        return torch.where(self.target_ids >= 0, weight, 0.0)

    def pool_targets(self, tokens: Tensor) -> Tensor:
        """Average over the patches of each target group, one-pass or unrolled alike.

        Args:
            tokens: One vector per target slot, ``(R, Lt, D)``; padding may hold
                anything, NaN too.

        Returns:
            ``(B, S, D)``, ``S`` that of the plan before it was unrolled; an empty group
            gives zeros.
        """
        steps = torch.arange(1, self.num_steps + 1, device=tokens.device)
        member = self.target_step[:, None, :] == steps[:, None]  # (R, S, Lt)
        pooled = mean_of_members(tokens, member)
        # (R, S, D) -> (B, R / B * S, D): of R / B and S one is 1
        return pooled.reshape(self.num_samples, -1, tokens.shape[-1])

    def pool_context(self, tokens: Tensor) -> Tensor:
        """Average over the context of each row.

        Args:
            tokens: One vector per context slot, ``(R, Lc, D)``; padding may hold
                anything, NaN too.

        Returns:
            ``(B, R / B, D)``: one vector per image, or per step if unrolled.
        """
        pooled = mean_of_members(tokens, (self.context_ids >= 0)[:, None])
        # (R, 1, D) -> (B, R / B, D)
        return pooled.reshape(self.num_samples, -1, tokens.shape[-1])

    def validate(self) -> None:
        """Check every promise of the plan. Synchronises; for tests and debugging.

        Raises:
            ValueError: If an index or a step is out of range, a row repeats a context
                patch, or the visible context of a step overlaps its targets.
        """
        for name, ids, step, low, high in (
            ('context', self.context_ids, self.context_step, 0, self.num_context_steps),
            ('target', self.target_ids, self.target_step, 1, self.num_steps + 1),
        ):
            padded = ids < 0
            if not torch.equal(padded, step < 0):
                raise ValueError(f'{name}: ids and steps disagree about padding')
            if ((ids < -1) | (ids >= self.num_patches)).any():
                raise ValueError(
                    f'{name}: patch index outside 0..{self.num_patches - 1}'
                )
            if (~padded & ((step < low) | (step >= high))).any():
                raise ValueError(f'{name}: step outside {low}..{high - 1}')
        context, target = self.context_ids, self.target_ids
        same = (context[:, :, None] == context[:, None, :]) & (context >= 0)[:, None]
        if same.sum() != (context >= 0).sum():
            raise ValueError('context: a row names one patch twice')
        overlap = (context[:, :, None] == target[:, None, :]) & (target >= 0)[:, None]
        seen = self.context_step[:, :, None] < self.target_step[:, None, :]
        if (overlap & seen).any():
            raise ValueError('a target is visible as context at its own step')
