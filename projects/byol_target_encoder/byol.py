"""BYOL whose target network moves with the optimizer.

Shape legend: ``B`` images, ``C`` channels of the projection.
"""

import torch
from mmpretrain.models import BYOL
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from dseq_mm.models.ema import build_target_encoder


@MODELS.register_module()
class BYOLWithTargetEncoder(BYOL):
    """`BYOL <https://arxiv.org/abs/2006.07733>`_ with the target encoder of dseq_mm.

    The host moves its target network in the forward pass, at every iteration. Here
    :class:`~dseq_mm.engine.hooks.TargetEncoderHook` moves it, once per *optimizer*
    step. Backbone and neck have an average each, so that ``target_encoder`` is what the
    kNN hook and the tools of dseq_mm look for: the average of the backbone alone.

    Args:
        *args: See :class:`mmpretrain.models.BYOL`.
        target_encoder: Momentum of the averages, see
            :class:`~dseq_mm.models.TargetEncoder`.
        **kwargs: See :class:`mmpretrain.models.BYOL`.

    Raises:
        ValueError: If the host's ``base_momentum`` is given.
    """

    #: EMA copies, and what each averages; TargetEncoderHook moves them.
    averages = dict(target_encoder='backbone', target_neck='neck')

    def __init__(self, *args, target_encoder: dict | None = None, **kwargs) -> None:
        if 'base_momentum' in kwargs:
            raise ValueError(
                "base_momentum is the host's, which has no effect here: give "
                'target_encoder=dict(momentum=1 - base_momentum)'
            )
        super().__init__(*args, **kwargs)
        del self.target_net
        self.target_encoder = build_target_encoder(target_encoder, self.backbone)
        self.target_neck = build_target_encoder(target_encoder, self.neck)

    def init_weights(self) -> None:
        """Initialize, once; the target network starts as the online network."""
        initialized = self.is_init
        super().init_weights()
        if initialized:
            return
        self.target_encoder.copy_parameters(self.backbone)
        self.target_neck.copy_parameters(self.neck)

    def loss(
        self, inputs: list[Tensor], data_samples: list[DataSample], **kwargs
    ) -> dict[str, Tensor]:
        """Each view predicts the other's target projection (BYOL, Eq. 2, both ways).

        Args:
            inputs: Two views of the images, each ``(B, 3, height, width)``.
            data_samples: Unused.
            **kwargs: Unused.

        Returns:
            ``loss``, scaled and shifted as the host's.

        Raises:
            ValueError: If there are not two views, or nothing moves the target network.
        """
        if not isinstance(inputs, list | tuple) or len(inputs) != 2:
            raise ValueError(
                'BYOL compares two views of each image: put dict(type="MultiView", '
                'num_views=[2], transforms=[...]) before PackInputs in the pipeline'
            )
        if self.target_encoder.progress is None:
            raise ValueError(
                'nothing moves the target network: add default_hooks=dict('
                "target_encoder=dict(type='TargetEncoderHook'))"
            )
        first, second = inputs
        online_first = self.neck(self.backbone(first))[0]  # (B, C)
        online_second = self.neck(self.backbone(second))[0]
        with torch.no_grad():
            target_first = self.target_neck(self.target_encoder(first))[0]
            target_second = self.target_neck(self.target_encoder(second))[0]
        loss = self.head.loss(online_first, target_second)
        loss = loss + self.head.loss(online_second, target_first)
        return dict(loss=2.0 * loss)
