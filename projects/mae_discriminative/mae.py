"""MAE that hides the most discriminative regions first.

Shape legend: ``B`` images, ``P`` patches in raster order, ``V`` visible ones, ``D``
channels.
"""

import torch
from mmpretrain.models.selfsup import MAE, MAEViT
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from dseq_mm.clock import TrainingClock, check_clock
from dseq_mm.models import (
    DiscriminativeMaskGenerator,
    EncodedImage,
    GradCAM,
    JEPAViT,
    MaskGenerator,
)
from dseq_mm.models.ema import build_target_encoder
from dseq_mm.models.jepa import sample_indices
from dseq_mm.randomness import Purpose, keyed_uniform

# Stream of the draws within a region.
WITHIN_REGION = Purpose.OUTSIDE


@MODELS.register_module()
class OrderedMAEViT(MAEViT, JEPAViT):
    """MAE's encoder, told which patches to hide.

    It trains as an ``MAEViT``. As a ``JEPAViT`` it also has ``encode``, which the
    saliency proxies need of the target encoder, an average of this class.

    Args:
        *args: See :class:`mmpretrain.models.MAEViT`.
        **kwargs: Likewise.
    """

    def forward(self, x: Tensor, mask: Tensor | bool | None = True):
        """Encode the visible patches, or the full image.

        Args:
            x: Images, ``(B, 3, height, width)``.
            mask: Scores, ``(B, P)``: the patches of the lowest stay visible. As with
                the host, True hides patches at random and None hides nothing.

        Returns:
            Class token and visible tokens, ``(B, 1 + V, D)``; 1 at hidden and 0 at
            visible patches, ``(B, P)``; place of each patch among the sorted ones,
            ``(B, P)``. With ``mask=None`` the host's tuple of outputs.
        """
        self._scores = mask
        return super().forward(x, mask)

    def random_masking(
        self, x: Tensor, mask_ratio: float = 0.75
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The host's masking, with the scores in place of its noise.

        Args:
            x: Patch tokens, ``(B, P, D)``.
            mask_ratio: Share of the patches to hide.

        Returns:
            Visible tokens, ``(B, V, D)``; mask and places as :meth:`forward`.
        """
        if not isinstance(self._scores, Tensor):
            return super().random_masking(x, mask_ratio)
        num_visible = int(x.shape[1] * (1 - mask_ratio))  # rounded as by the host
        order = self._scores.argsort(dim=1, stable=True)  # (B, P)
        place = order.argsort(dim=1)  # the inverse permutation
        # (B, P, D) -> (B, V, D)
        visible = x.take_along_dim(order[:, :num_visible, None], dim=1)
        return visible, (place >= num_visible).float(), place


@MODELS.register_module()
class DiscriminativeMAE(MAE):
    """`MAE <https://arxiv.org/abs/2111.06377>`_ on DSeq-JEPA's regions.

    An EMA target encoder sees the full image and a
    :class:`~dseq_mm.models.DiscriminativeMaskGenerator` cuts it into ranked regions.
    The first regions are hidden and the last stay visible; in the one region that
    ``mask_ratio`` cuts through, keyed draws decide.

    Args:
        *args: See :class:`mmpretrain.models.MAE`; the backbone is an
            :class:`OrderedMAEViT`.
        mask_generator: A ``DiscriminativeMaskGenerator``. Saliency, rule, curriculum
            and order count; ``keep_regions`` and ``prediction`` say nothing here.
        target_encoder: Momentum of the EMA target encoder.
        **kwargs: See :class:`mmpretrain.models.MAE`.

    Raises:
        ValueError: If the backbone cannot be told what to hide, the neck is for another
            number of patches, all or none would be hidden, or the mask generator ranks
            nothing or needs a JEPA.
    """

    def __init__(
        self,
        *args,
        mask_generator: dict | None = None,
        target_encoder: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        if not isinstance(self.backbone, OrderedMAEViT):
            raise ValueError(
                "DiscriminativeMAE needs backbone.type='OrderedMAEViT', which can be "
                f'told what to hide, got {type(self.backbone).__name__}'
            )
        self._check_sizes()
        self.mask_generator = MODELS.build(
            mask_generator or dict(type='mmpretrain.DiscriminativeMaskGenerator')
        )
        _check_generator(self.mask_generator)
        self.mask_generator.check(self.backbone.num_layers, with_cls_token=True)
        self.target_encoder = build_target_encoder(target_encoder, self.backbone)
        self.clock: TrainingClock | None = None  # set by ClockHook

    def _check_sizes(self) -> None:
        """Raise ``ValueError`` if backbone and neck do not fit each other."""
        rows, columns = self.backbone.patch_resolution
        num, ratio = rows * columns, self.backbone.mask_ratio
        if self.neck.num_patches != num:
            raise ValueError(
                f'the backbone has {rows} x {columns} patches, the neck is for '
                f'{self.neck.num_patches}: set model.neck.num_patches={num}'
            )
        if not 0 < int(num * (1 - ratio)) < num:
            raise ValueError(
                'mask_ratio must hide some patches and leave some visible, got '
                f'{ratio} of {num} patches'
            )

    def init_weights(self) -> None:
        """Initialize, once; the target encoder starts as the backbone."""
        initialized = self.is_init
        super().init_weights()
        if initialized:
            return
        self.target_encoder.copy_parameters(self.backbone)

    def train(self, mode: bool = True) -> 'DiscriminativeMAE':
        """Set the mode; the target encoder always stays in evaluation mode.

        Args:
            mode: True for training.

        Returns:
            The algorithm.
        """
        super().train(mode)
        self.target_encoder.eval()
        return self

    def loss(
        self, inputs: Tensor, data_samples: list[DataSample], **kwargs
    ) -> dict[str, Tensor]:
        """The host's step, under masks from :meth:`scores`.

        Args:
            inputs: Images, ``(B, 3, height, width)``.
            data_samples: Their meta data; ``sample_idx`` keys the randomness.
            **kwargs: Unused.

        Returns:
            ``loss`` and, for the log, what the mask generator counted.
        """
        scores, log = self.scores(inputs, data_samples)
        latent, mask, place = self.backbone(inputs, scores)
        loss = self.head.loss(self.neck(latent, place), inputs, mask)
        return dict(loss=loss, **log)

    @torch.no_grad()
    def encode_target(self, inputs: Tensor) -> EncodedImage:
        """Encode full images with the target encoder; the drawing tool calls it too.

        Args:
            inputs: Images, ``(B, 3, height, width)``.

        Returns:
            The encoded images, with what the saliency proxy asks for.
        """
        return self.target_encoder.module.encode(
            inputs, self.mask_generator.hidden, self.mask_generator.attention
        )

    @torch.no_grad()
    def scores(
        self, inputs: Tensor, data_samples: list[DataSample]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Score patches by the rank of their region; the lowest stay visible.

        Args:
            inputs: Images, ``(B, 3, height, width)``.
            data_samples: Their meta data, with ``sample_idx``.

        Returns:
            A keyed draw of ``[0, 1)`` minus the rank, ``(B, P)``, float64; and what
            was counted of the regions, for the log.

        Raises:
            ValueError: If the images are not of ``img_size``, the samples carry no
                index, or nobody has set the clock.
        """
        indices = sample_indices(data_samples)
        generator, clock = self.mask_generator, check_clock(self.clock)
        encoded = self.encode_target(inputs)
        own = tuple(self.backbone.patch_resolution)
        if tuple(encoded.grid) != own:
            raise ValueError(
                f'images of {encoded.grid[0]} x {encoded.grid[1]} patches, the decoder '
                f'is for {own[0]} x {own[1]}: make the crop of the data pipeline equal '
                'to img_size'
            )
        with torch.autocast(inputs.device.type, enabled=False):  # statistics: float32
            regions = generator.regions(encoded, indices, clock)
        rank = regions.rank.flatten(1)  # (B, H, W) -> (B, P)
        key = clock.epoch_key(WITHIN_REGION, generator.seed)
        score = keyed_uniform(key, indices, rank.shape[1]) - rank
        return score.to(inputs.device, non_blocking=True), regions.log


def _check_generator(generator: MaskGenerator) -> None:
    """Raise ``ValueError`` if a mask generator gives no ranked regions to MAE."""
    if not isinstance(generator, DiscriminativeMaskGenerator):
        raise ValueError(
            'DiscriminativeMAE hides ranked regions: mask_generator must be a '
            f'DiscriminativeMaskGenerator, got {type(generator).__name__}'
        )
    if generator.curriculum['unit'] == 'batch':
        raise ValueError(
            "curriculum unit 'batch' turns to an I-JEPA plan, which ranks nothing: "
            "take 'sample' or 'region'"
        )
    if isinstance(generator.saliency, GradCAM):
        raise ValueError(
            'GradCAM differentiates the loss of a JEPA predictor, MAE has none: take '
            'ClassTokenSimilarity or ClassTokenAttention'
        )
