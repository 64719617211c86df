"""The latent loss of the JEPA family.

Shape legend: ``R`` plan rows, ``Lt`` target slots, ``D`` channels.
"""

import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor

from ...plan import PredictionPlan
from ..layers import as_float32


@MODELS.register_module()
class LatentPredictionHead(BaseModule):
    """Smooth L1 between predicted and target features (DSeq-JEPA, Eq. 6 and 7).

    A mean over features, then over the patches of a target group, then over the groups
    of a sample, then over samples, in float32.

    Args:
        beta: Width of the quadratic part, in units of the feature; the paper's delta.
    """

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        self.beta = beta

    def loss(self, prediction: Tensor, target: Tensor, plan: PredictionPlan) -> Tensor:
        """Compute the loss.

        Args:
            prediction: ``(R, Lt, D)``.
            target: ``(R, Lt, D)``, no gradient.
            plan: Tells the groups and the padding apart.

        Returns:
            A scalar, at least float32.
        """
        distance = F.smooth_l1_loss(
            as_float32(prediction), as_float32(target), reduction='none', beta=self.beta
        ).mean(-1)  # (R, Lt)
        # 0 * nan is nan: padding must not even be multiplied
        distance = distance.masked_fill(plan.target_ids < 0, 0.0)
        return (distance * plan.target_weights()).sum()
