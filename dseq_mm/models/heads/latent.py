"""The latent loss of the JEPA family.

Shape legend: ``R`` plan rows, ``Lt`` target slots, ``D`` channels.
"""

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from ...plan import PredictionPlan
from ...registry import MODELS
from ...utils.values import check_numbers
from ..layers import as_float32


@MODELS.register_module()
class LatentPredictionHead(BaseModule):
    """Distance between predicted and target features (DSeq-JEPA, Eq. 6 and 7).

    A mean over the patches of a target group, then over the groups of a sample, then
    over samples, in float32.

    Args:
        beta: Width of the quadratic part of smooth L1, in units of the feature; the
            paper's delta; 0 is L1.
        distance: ``'smooth_l1'``, a mean over features; or ``'cosine'``, the negative
            cosine similarity (NEPA), -1 at its least.

    Raises:
        ValueError: If ``distance`` is neither, or ``beta`` negative.
    """

    def __init__(self, beta: float = 1.0, distance: str = 'smooth_l1') -> None:
        super().__init__()
        if distance not in ('smooth_l1', 'cosine'):
            raise ValueError(f"distance is 'smooth_l1' or 'cosine', not {distance!r}")
        check_numbers(self, beta=beta)
        self.distance, self.beta = distance, beta

    def loss(self, prediction: Tensor, target: Tensor, plan: PredictionPlan) -> Tensor:
        """Compute the loss.

        Args:
            prediction: ``(R, Lt, D)``.
            target: ``(R, Lt, D)``, no gradient.
            plan: Tells the groups and the padding apart.

        Returns:
            A scalar, at least float32.
        """
        distance = self._distance(as_float32(prediction), as_float32(target))
        # 0 * nan is nan: padding must not even be multiplied
        distance = distance.masked_fill(plan.target_ids < 0, 0.0)
        return (distance * plan.target_weights()).sum()

    def _distance(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Distance at each target slot, ``(R, Lt, D) -> (R, Lt)``."""
        if self.distance == 'cosine':
            return -F.cosine_similarity(prediction, target, dim=-1)
        return F.smooth_l1_loss(
            prediction, target, reduction='none', beta=self.beta
        ).mean(-1)
