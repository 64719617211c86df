"""A supervised classifier with a JEPA loss on the same backbone.

Shape legend: ``B`` images, ``P`` patches, ``C`` classes, ``D`` channels.
"""

import math

from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from dseq_mm.models import JEPA


@MODELS.register_module()
class JEPAClassifier(JEPA):
    """``classification + jepa_weight * JEPA``, with one backbone for both.

    The classifier reads the full image, as
    :class:`mmpretrain.models.ImageClassifier`; the JEPA encodes what its plan says.
    Which method that is, the mask generator decides: DSeq-JEPA's by default, I-JEPA's
    with ``mask_generator=dict(type='MultiBlockMaskGenerator')``.

    Args:
        *args: See :class:`~dseq_mm.models.JEPA`.
        cls_head: Classification head of mmpretrain that reads one vector per image,
            such as ``LinearClsHead``; ``in_channels`` is that of the backbone.
        jepa_weight: Weight of the JEPA loss.
        **kwargs: See :class:`~dseq_mm.models.JEPA`.

    Raises:
        ValueError: If the weight is negative or not finite, or the head is for other
            features.
    """

    default_mask_generator = dict(type='mmpretrain.DiscriminativeMaskGenerator')

    def __init__(
        self, *args, cls_head: dict, jepa_weight: float = 1.0, **kwargs
    ) -> None:
        if not 0.0 <= jepa_weight < math.inf:
            raise ValueError(f'jepa_weight must be at least 0, got {jepa_weight}')
        super().__init__(*args, **kwargs)
        self.cls_head = MODELS.build(
            cls_head, default_args=dict(in_channels=self.backbone.embed_dims)
        )
        wanted = getattr(self.cls_head, 'in_channels', self.backbone.embed_dims)
        if wanted != self.backbone.embed_dims:
            raise ValueError(
                f'cls_head is for {wanted} channels, the backbone has '
                f'{self.backbone.embed_dims}: leave cls_head.in_channels out'
            )
        self.jepa_weight = jepa_weight

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[DataSample] | None = None,
        mode: str = 'tensor',
    ):
        """Run in one of the modes of :class:`mmpretrain.models.ImageClassifier`.

        Args:
            inputs: Images, ``(B, 3, height, width)``.
            data_samples: Their meta data, and their labels in training.
            mode: ``'tensor'``, ``'loss'`` or ``'predict'``.

        Returns:
            Class scores before the softmax, ``(B, C)``; or what :meth:`loss` or
            :meth:`predict` returns.
        """
        if mode == 'tensor':
            return self.cls_head(self.extract_feat(inputs))
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        return super().forward(inputs, data_samples, mode)

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor]:
        """Average the patch tokens of the full image, after the final norm.

        Args:
            inputs: Images, ``(B, 3, height, width)``.

        Returns:
            ``(B, D)``, in a tuple, as heads of mmpretrain read it.
        """
        return (self.backbone.encode(inputs).patches.mean(1),)  # (B, P, D) -> (B, D)

    def loss(
        self, inputs: Tensor, data_samples: list[DataSample], **kwargs
    ) -> dict[str, Tensor]:
        """Both losses; the runner adds what has 'loss' in its name.

        Args:
            inputs: Images, ``(B, 3, height, width)``.
            data_samples: ``gt_label``, and ``sample_idx``, which keys the masks.
            **kwargs: Unused.

        Returns:
            ``loss_cls``, ``loss_jepa`` (weighted) and, for the log, what head and mask
            generator counted.

        Raises:
            ValueError: If the images have no labels.
        """
        if any('gt_label' not in sample for sample in data_samples):
            raise ValueError(
                'a classifier needs labels, and these images have none: take a data '
                'set with labels, or pre-train without them (configs/dseq_*)'
            )
        jepa = super().loss(inputs, data_samples)
        classification = self.cls_head.loss(self.extract_feat(inputs), data_samples)
        return dict(
            loss_cls=classification.pop('loss'),
            loss_jepa=self.jepa_weight * jepa.pop('loss'),
            **classification,
            **jepa,
        )

    def predict(
        self, inputs: Tensor, data_samples: list[DataSample] | None = None, **kwargs
    ) -> list[DataSample]:
        """Classify.

        Args:
            inputs: Images, ``(B, 3, height, width)``.
            data_samples: Samples to write to; new ones by default.
            **kwargs: For the ``predict`` of the head.

        Returns:
            The samples, with ``pred_score`` ``(C,)`` and ``pred_label``.
        """
        return self.cls_head.predict(self.extract_feat(inputs), data_samples, **kwargs)
