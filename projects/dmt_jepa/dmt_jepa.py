"""The algorithm: I-JEPA with targets that summarize a patch's neighborhood.

Shape legend: ``B`` images, ``R`` plan rows, ``P`` patches, ``Lc`` context and ``Lt``
target slots, ``D`` channels.
"""

import torch
from mmpretrain.registry import MODELS
from torch import Tensor

from dseq_mm.models import IJEPA, EncodedImage, MaskGenerator, TargetEncoder
from dseq_mm.models.jepa import as_target
from dseq_mm.models.parts import split_log
from dseq_mm.plan import PredictionPlan
from dseq_mm.utils.arguments import check_arguments

from .aggregation import LocalAggregation

_GROWS = (
    'DMT-JEPA adds the mean of the whole context to every context token, so context '
    'that appears later would be seen before. Set unrolled=True in the model, or '
    "mask_generator=dict(type='MultiBlockMaskGenerator')."
)


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

    Raises:
        ValueError: If the plans are sequential and ``unrolled`` is off.
    """

    averages = dict(target_encoder='backbone', target_head='context_head')

    def __init__(self, aggregation: dict | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        check_arguments(aggregation or {}, LocalAggregation, 'aggregation')
        self.context_head = LocalAggregation(
            self.backbone.embed_dims,
            self.backbone.num_heads,
            **dict(init_std=getattr(self.backbone, 'init_std', 0.02))
            | (aggregation or {}),
        )
        _check_plans(self.mask_generator, self.unrolled)
        self.target_head = TargetEncoder(
            self.context_head,
            self.target_encoder.momentum,
            self.target_encoder.end_momentum,
        )

    def encode_context(self, inputs: Tensor, plan: PredictionPlan) -> Tensor:
        """Encode the context and mix it; see :meth:`IJEPA.encode_context`."""
        if plan.num_context_steps > 1:  # of a mask generator that we do not know
            raise ValueError(_GROWS)
        return self.context_head(super().encode_context(inputs, plan), plan)

    @torch.no_grad()
    def targets(self, encoded: EncodedImage, plan: PredictionPlan) -> Tensor:
        """Aggregate neighborhoods at the target slots; see :meth:`IJEPA.targets`."""
        patches = as_target(encoded.patches)
        return self.target_head.module.targets(patches, encoded.grid, plan)

    def latent_loss(self, patches: Tensor, plan: PredictionPlan) -> Tensor:
        """See :meth:`IJEPA.latent_loss`: through both heads."""
        context = self.context_head(plan.gather(patches, plan.context_ids), plan)
        grid = tuple(self.backbone.patch_resolution)
        target = self.targets(EncodedImage(patches.detach(), grid), plan)
        result = self.head.loss(self.neck(context, plan), target, plan)
        return split_log(result, self.head)[0]


def _check_plans(generator: MaskGenerator, unrolled: bool) -> None:
    """Raise ``ValueError`` if context of later steps would reach earlier targets."""
    if not unrolled and getattr(generator, 'prediction', 'flat') == 'sequential':
        raise ValueError(_GROWS)
