"""LeJEPA: no predictor, no target encoder, no stopped gradient.

Shape legend: ``B`` images of this process, ``n`` images of all processes, ``V`` views,
``D`` channels, ``K`` projected channels.
"""

from collections.abc import Sequence

import torch
from mmpretrain.models.selfsup import BaseSelfSupervisor
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from dseq_mm.clock import TrainingClock, check_clock
from dseq_mm.models.heads.projector import Projector
from dseq_mm.models.heads.sigreg import QUADRATURES, random_directions, sigreg
from dseq_mm.models.layers import as_float32
from dseq_mm.models.rolling_sample import RollingSample
from dseq_mm.randomness import Purpose
from dseq_mm.utils.values import check_counts, is_number


@MODELS.register_module()
class LeJEPA(BaseSelfSupervisor):
    """`LeJEPA <https://arxiv.org/abs/2511.08544>`_ on any backbone.

    Embeddings of all views of an image are drawn to the mean of its global views, and
    those of one view over the images of all processes to a standard normal::

        loss = (1 - weight) * mean((mean_of_global_views - embedding) ** 2)
             + weight * mean over views of SIGReg

    Args:
        backbone: Any backbone whose last output is one vector for each image, such as a
            ViT with ``out_type='avg_featmap'``.
        num_global: Of the views, the first so many are global.
        weight: LeJEPA's lambda.
        slices: Directions of SIGReg, drawn anew at each iteration, the same in all
            processes.
        quadrature: ``'code'`` or ``'paper'``, see
            :class:`~dseq_mm.models.heads.sigreg.SIGRegHead`.
        projector: Widths of the projector; the released example's by default.
        seed: Key of the directions; None is the run's seed.
        data_preprocessor: As in mmpretrain.
        init_cfg: As in mmpretrain.

    Raises:
        ValueError: A number is out of its range.
    """

    averages: dict[str, str] = {}  # nothing for TargetEncoderHook to move

    def __init__(
        self,
        backbone: dict,
        num_global: int = 2,
        weight: float = 0.05,
        slices: int = 1024,
        quadrature: str = 'code',
        projector: Sequence[int] = (2048, 2048, 64),
        seed: int | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            backbone=backbone, data_preprocessor=data_preprocessor, init_cfg=init_cfg
        )
        check_counts(self, num_global=num_global, slices=slices)
        if not is_number(weight) or weight > 1:
            raise ValueError(f'weight lies from 0 to 1, got {weight!r}')
        if quadrature not in QUADRATURES:
            raise ValueError(f"quadrature is 'code' or 'paper', not {quadrature!r}")
        self.num_global, self.weight, self.slices = num_global, weight, slices
        self.quadrature, self.seed = quadrature, seed
        self.projector = Projector(self.backbone.embed_dims, projector)
        self.clock: TrainingClock | None = None
        self.sample: RollingSample | None = None  # EffectiveRankHook's

    def loss(
        self, inputs: list[Tensor], data_samples: list[DataSample], **kwargs
    ) -> dict[str, Tensor]:
        """Run one training step.

        Args:
            inputs: Views, each ``(B, 3, height, width)``, the global ones first; views
                of one size are encoded together.
            data_samples: Unused.
            **kwargs: Unused.

        Returns:
            ``loss``, and for the log ``invariance`` and ``sigreg`` without weights.

        Raises:
            ValueError: There are too few views, or nobody has set the clock.
        """
        clock = check_clock(self.clock)
        if not isinstance(inputs, list | tuple) or len(inputs) < max(
            2, self.num_global
        ):
            raise ValueError(
                f'LeJEPA compares views, {self.num_global} of them global: put '
                'dict(type="MultiView", num_views=[2, 6], transforms=[...]) before '
                'PackInputs in the pipeline'
            )
        features = self.encode_views(inputs)  # (B, V, D)
        if self.sample is not None:
            self.sample.add(features)
        with torch.autocast(features.device.type, enabled=False):
            embeddings = self.projector(as_float32(features))  # (V, n, K)
            centers = embeddings[: self.num_global].mean(0)  # (n, K)
            invariance = (embeddings - centers).square().mean()
            key = clock.iteration_key(Purpose.DIRECTIONS, self.seed)
            directions = random_directions(
                key, embeddings.shape[-1], self.slices, embeddings.device
            )
            tests = [sigreg(view, directions, self.quadrature) for view in embeddings]
            normality = torch.stack(tests).mean()
            loss = (1 - self.weight) * invariance + self.weight * normality
        return dict(
            loss=loss, invariance=invariance.detach(), sigreg=normality.detach()
        )

    def encode_views(self, views: Sequence[Tensor]) -> Tensor:
        """Encode all views, those of one size in one pass.

        Args:
            views: Each ``(B, 3, height, width)``.

        Returns:
            ``(B, V, D)``.
        """
        sizes = [tuple(view.shape[-2:]) for view in views]
        found: dict[int, Tensor] = {}
        for size in dict.fromkeys(sizes):
            chosen = [index for index, each in enumerate(sizes) if each == size]
            batch = torch.cat([views[index] for index in chosen])  # (v * B, 3, h, w)
            features = self.backbone(batch)[-1]  # (v * B, D)
            found.update(zip(chosen, features.chunk(len(chosen)), strict=True))
        return torch.stack([found[index] for index in range(len(views))], dim=1)

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Encode images as our tools do.

        Args:
            inputs: ``(B, 3, height, width)``, normalized.

        Returns:
            What the backbone gives.
        """
        return self.backbone(inputs)
