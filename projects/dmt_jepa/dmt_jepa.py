"""The algorithm: I-JEPA with targets that summarize a patch's neighborhood.

Shape legend: ``B`` images, ``R`` plan rows, ``P`` patches, ``Lc`` context and ``Lt``
target slots, ``D`` channels.
"""

import torch
from mmpretrain.registry import MODELS
from torch import Tensor

from dseq_mm.models import IJEPA, EncodedImage, TargetEncoder
from dseq_mm.models.jepa import as_target
from dseq_mm.plan import PredictionPlan

from .aggregation import LocalAggregation


@MODELS.register_module()
class DMTJEPA(IJEPA):
    """`DMT-JEPA <https://arxiv.org/abs/2405.17995>`_: I-JEPA that predicts of a patch
    an attention summary of the patches around it that resemble it most.

    The context passes through a head of the same shape before the predictor reads it;
    the head that makes the targets is the EMA of that one.

    Args:
        aggregation: Options of :class:`LocalAggregation`: ``query``, ``window``,
            ``neighbors``, ``released``.
        **kwargs: As for :class:`dseq_mm.models.IJEPA`.
    """

    averages = dict(target_encoder='backbone', target_head='context_head')

    def __init__(self, aggregation: dict | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        self.context_head = LocalAggregation(
            self.backbone.embed_dims,
            self.backbone.num_heads,
            init_std=self.backbone.init_std,
            **(aggregation or {}),
        )
        self.target_head = TargetEncoder(
            self.context_head,
            self.target_encoder.momentum,
            self.target_encoder.end_momentum,
        )

    def init_weights(self) -> None:
        """Initialize the parts; each EMA copy starts as what it averages."""
        super().init_weights()
        self.target_head.copy_parameters(self.context_head)

    def train(self, mode: bool = True) -> 'DMTJEPA':
        """Set the mode; both EMA copies always stay in evaluation mode.

        Args:
            mode: True for training.

        Returns:
            The algorithm.
        """
        super().train(mode)
        self.target_head.eval()
        return self

    def encode_context(self, inputs: Tensor, plan: PredictionPlan) -> Tensor:
        """Encode the context and mix it; see :meth:`IJEPA.encode_context`.

        Raises:
            ValueError: If context of later steps would reach earlier targets.
        """
        if plan.num_context_steps > 1:
            raise ValueError(
                'DMT-JEPA adds the mean of the whole context to every context token, '
                'so context that appears later would be seen before. Set unrolled=True '
                "in the model, or mask_generator=dict(type='MultiBlockMaskGenerator')."
            )
        return self.context_head(super().encode_context(inputs, plan), plan)

    @torch.no_grad()
    def targets(self, encoded: EncodedImage, plan: PredictionPlan) -> Tensor:
        """Aggregate neighborhoods at the target slots; see :meth:`IJEPA.targets`."""
        patches = as_target(encoded.patches)
        return self.target_head.module.targets(patches, encoded.grid, plan)
