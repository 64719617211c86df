"""What is derived of a plan's tensors, and how a plan gets to a device with it.

A training step asks a plan for visibilities, places and weights. Each is derived once,
at the first call; on the way to a device all of them are, on the host, where that costs
the device nothing.

Shape legend: ``B`` images, ``R`` plan rows, ``P`` patches, ``S`` prediction steps,
``K`` class-token copies, ``Lc`` context and ``Lt`` target slots, ``G`` targets of the
largest group, ``D`` channels.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from .packing import TokenCounts, move_together, patch_rows, rolled_rows
from .visibility import Sight, context_sight, predictor_sight

PlanType = TypeVar('PlanType', bound='Movable')


class Movable:
    """Base of :class:`~dseq_mm.plan.PredictionPlan`, whose fields it reads."""

    context_ids: Tensor
    context_step: Tensor
    target_ids: Tensor
    target_step: Tensor
    num_patches: int
    num_steps: int
    num_context_steps: int
    group_length: int
    tokens: TokenCounts
    rows_per_sample: int
    context_sees_targets: bool
    derived: dict[str, Any]

    def unroll(self: PlanType) -> PlanType:
        """See :meth:`dseq_mm.plan.PredictionPlan.unroll`."""
        raise NotImplementedError

    def target_weights(self) -> Tensor:
        """See :meth:`dseq_mm.plan.PredictionPlan.target_weights`."""
        raise NotImplementedError

    def to(self: PlanType, device: torch.device) -> PlanType:
        """Move the plan to a device, in one copy that the host does not wait for.

        All that a training step derives of it is derived on the host before, and moved
        with it.

        Args:
            device: Where the model is.

        Returns:
            The plan there; what it logs stays.
        """
        if self.context_ids.device == device:
            return self
        plans = [self]
        if self.context_sees_targets and self.num_steps > 1:
            plans.append(self.unroll())  # the predictor asks for it
        for plan in plans:
            plan.derive()
        tensors = [tensor for plan in plans for tensor in plan.every_tensor().values()]
        there = iter(move_together(tensors, device))
        moved = [
            plan.with_tensors({name: next(there) for name in plan.every_tensor()})
            for plan in plans
        ]
        for unrolled in moved[1:]:
            moved[0].derived['unrolled'] = unrolled
        return moved[0]

    def _once(self, name: str, derive: Callable[[], Any]) -> Any:
        """What is derived of the plan, at the first call."""
        if name not in self.derived:
            self.derived[name] = derive()
        return self.derived[name]

    def derive(self) -> None:
        """Derive all that a training step will ask for."""
        for copies in {0, self.num_context_steps}:
            self._context_sight(copies)
        if self.context_sees_targets and self.num_steps > 1:
            self._rolled_rows()
        else:
            self._predictor_sight()
        self._patch_rows(self.context_ids)
        self._patch_rows(self.target_ids)
        self.target_weights()

    def every_tensor(self) -> dict[str, Tensor]:
        """List the tensors of the plan, and those that were derived of it.

        Returns:
            Them by name.
        """
        own = {name: value for name, value in vars(self).items() if name != 'log'}
        every = own | self.derived
        return {name: x for name, x in every.items() if isinstance(x, Tensor)}

    def with_tensors(self: PlanType, tensors: dict[str, Tensor]) -> PlanType:
        """Make the same plan of other tensors.

        Args:
            tensors: Those of :meth:`every_tensor`, elsewhere.

        Returns:
            The plan.
        """
        own = {name: x for name, x in tensors.items() if name in vars(self)}
        plan = replace(self, **own)  # type: ignore[type-var]
        plan.derived.update({k: x for k, x in tensors.items() if k not in own})
        return plan

    def _context_sight(self, copies: int) -> Sight:
        """Who sees whom in the context encoder, behind copies of the class token."""

        def derive() -> Sight:
            step = torch.arange(copies, device=self.context_step.device)
            step = step.expand(len(self.context_step), -1)  # (R, K)
            step = torch.cat([step, self.context_step], dim=1)  # (R, K + Lc)
            return context_sight(step, self.tokens.context + len(step) * copies)

        return self._sight(f'context behind {copies}', derive)

    def _predictor_sight(self) -> Sight:
        """Who sees whom in the predictor."""
        real = self.tokens.context + self.tokens.target
        steps = self.context_step, self.target_step
        return self._sight(
            'predictor',
            lambda: predictor_sight(*steps, self.context_sees_targets, real),
        )

    def _sight(self, name: str, derive: Callable[[], Sight]) -> Sight:
        """A sight, derived at the first call; its tensors are derived ones."""
        names = [f'{name}: {part}' for part in Sight._fields]
        if names[0] not in self.derived:
            self.derived.update(zip(names, derive(), strict=True))
        return Sight(*(self.derived[part] for part in names))

    def _patch_rows(self, ids: Tensor) -> Tensor:
        """Where patches are in ``(B * P, D)``, ``(R, L)``."""
        name = {
            id(self.context_ids): 'context rows',
            id(self.target_ids): 'target rows',
        }

        def derive() -> Tensor:
            return patch_rows(ids, self.num_patches, self.rows_per_sample)

        return self._once(name[id(ids)], derive) if id(ids) in name else derive()

    def _rolled_rows(self) -> Tensor:
        """Where the vectors of target slots are in ``(R * S * G, D)``, ``(R, Lt)``."""
        return self._once(
            'rolled rows',
            lambda: rolled_rows(self.target_step, self.num_steps, self.group_length),
        )
