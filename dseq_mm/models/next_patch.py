"""A neck in place of a predictor: the encoder itself is the one that predicts.

Shape legend: ``R`` plan rows, ``Lc`` context and ``Lt`` target slots, ``D`` channels.
"""

import torch
from mmengine.model import BaseModule
from torch import Tensor

from ..plan import PredictionPlan
from ..registry import MODELS


@MODELS.register_module()
class NextPatchPredictor(BaseModule):
    """Take the newest context that a target sees as its prediction (NEPA).

    NEPA has no predictor: the output of the causal encoder at patch ``i - 1`` is the
    prediction of patch ``i``. It has no parameters, and takes any plan whose steps have
    one target each, unrolled or not.

    Args:
        init_cfg: As in MMEngine.
    """

    def forward(self, context: Tensor, plan: PredictionPlan) -> Tensor:
        """Shift the context by one step.

        Args:
            context: Context tokens, ``(R, Lc, D)``.
            plan: The plan that they were encoded under.

        Returns:
            For each target of step ``s`` the last context token of the steps before
            ``s``, ``(R, Lt, D)``; those of padding slots mean nothing.

        Raises:
            ValueError: If a step of the plan has several targets.
        """
        if plan.group_length > 1:
            raise ValueError(
                f'a step of this plan has up to {plan.group_length} targets, and '
                'NextPatchPredictor gives one prediction a step. Take '
                "mask_generator=dict(type='RasterMaskGenerator'), or "
                "neck=dict(type='JEPAPredictor')."
            )
        step, slots = plan.context_step.sort(dim=1, stable=True)  # (R, Lc)
        # slots of the steps before, (R, Lt); padding, of step -1, comes first
        seen = torch.searchsorted(step, plan.target_step)
        newest = slots.gather(1, (seen - 1).clamp(min=0))
        row = torch.arange(len(newest), device=newest.device)[:, None]
        index = row * context.shape[1] + newest
        # (R, Lc, D) -> (R * Lc, D) -> (R * Lt, D) -> (R, Lt, D)
        taken = context.flatten(0, 1).index_select(0, index.flatten())
        return taken.unflatten(0, index.shape)
