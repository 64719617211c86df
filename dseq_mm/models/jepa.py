"""The algorithm. One training step of every method is :meth:`JEPA.loss`.

Shape legend: ``B`` images, ``R`` plan rows, ``P`` patches, ``Lc`` context and ``Lt``
target slots, ``D`` channels.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import ModuleList
from mmpretrain.models.selfsup import BaseSelfSupervisor
from mmpretrain.structures import DataSample
from torch import Tensor

from ..clock import TrainingClock, check_clock
from ..plan import PredictionPlan
from ..registry import MODELS
from ..transfer.classifier import fill_algorithm
from ..transfer.warm_start import warm_start
from .ema import build_target_encoder
from .encoder import EncodedImage
from .layers import as_float32, compile_all_layers
from .mask_generators.base import MaskGenerator
from .monitors import batch_statistics
from .parts import add_to_log, build_part, check_plan, split_log
from .rolling_sample import RollingSample


@MODELS.register_module()
class JEPA(BaseSelfSupervisor):
    """Joint-embedding predictive architecture: predict features of hidden patches.

    What is hidden, from whom, and when, is the mask generator's
    :class:`~dseq_mm.plan.PredictionPlan`; methods differ in nothing else.

    Parts that have arguments ``grid_size``, ``embed_dims`` or ``num_heads`` get the
    backbone's, unless their config says otherwise.

    Args:
        backbone: Context encoder, a :class:`JEPAViT`.
        neck: Predictor.
        head: Loss between predicted and target features.
        mask_generator: Makes the plan; a method by name has a default.
        regularizers: Heads whose losses are added to the latent loss, such as
            :class:`VICRegHead`; a method by name may have defaults.
        target_encoder: Momentum of the EMA target encoder.
        warm_start: File to start from: a pre-training checkpoint gives the encoders and
            what else it has in the same shapes, a backbone the encoders.
        unrolled: Re-encode the context of each step with full attention (the literal
            Eq. 5, about twice the cost) instead of one pass.
        compile_layers: Compile the transformer layers by ``torch.compile``, for any
            number of tokens at once: one graph for each encoder and the predictor.
        monitor: Log signs of collapse and of learning, see
            :func:`~dseq_mm.models.monitors.batch_statistics`.
        data_preprocessor: As in mmpretrain.
        init_cfg: As in mmpretrain.

    Raises:
        ValueError: If there is no mask generator, or saliency proxy and backbone do not
            fit.
    """

    #: EMA copies, and what each averages; TargetEncoderHook moves them.
    averages = dict(target_encoder='backbone')
    #: What a method is made of, where its config does not say.
    default_mask_generator: dict | None = None
    default_regularizers: Sequence[dict] = ()
    mask_generator: MaskGenerator
    head: Any  # it has ``loss(prediction, target, plan)``

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        mask_generator: dict | None = None,
        regularizers: Sequence[dict] | None = None,
        target_encoder: dict | None = None,
        warm_start: str | None = None,
        unrolled: bool = False,
        compile_layers: bool = False,
        monitor: bool = True,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            backbone=backbone, data_preprocessor=data_preprocessor, init_cfg=init_cfg
        )
        facts = dict(
            grid_size=tuple(self.backbone.patch_resolution),
            embed_dims=self.backbone.embed_dims,
            num_heads=self.backbone.num_heads,
        )
        if regularizers is None:
            regularizers = self.default_regularizers
        if isinstance(regularizers, dict):
            raise ValueError(f'regularizers is a list: write [{regularizers}]')
        mask_generator = mask_generator or self.default_mask_generator
        if mask_generator is None:
            raise ValueError(
                f'{type(self).__name__} has no masks of its own: give it '
                "mask_generator=dict(type='...'), such as MultiBlockMaskGenerator"
            )
        self.neck = build_part(neck, 'neck', **facts)
        self.head = build_part(head, 'head', **facts)
        self.regularizers = ModuleList(
            build_part(part, 'regularizers', **facts) for part in deepcopy(regularizers)
        )
        self.mask_generator = build_part(
            deepcopy(mask_generator), 'mask_generator', **facts
        )
        self.mask_generator.check(
            self.backbone.num_layers, self.backbone.cls_token is not None
        )
        self.target_encoder = build_target_encoder(target_encoder, self.backbone)
        self.warm_start = warm_start
        self.unrolled, self.monitor = unrolled, monitor
        self.clock: TrainingClock | None = None
        self.sample: RollingSample | None = None  # EffectiveRankHook's
        self.register_load_state_dict_pre_hook(fill_algorithm)
        if compile_layers:
            compile_all_layers(self)

    def init_weights(self) -> None:
        """Initialize the parts; each EMA copy starts as what it averages.

        A second call changes nothing, as everywhere in MMEngine.
        """
        initialized = self.is_init
        super().init_weights()
        if initialized:
            return
        if self.warm_start is not None:
            warm_start(self, self.warm_start, self.averages)
        for copy, source in self.averages.items():
            getattr(self, copy).copy_parameters(getattr(self, source))

    def train(self, mode: bool = True) -> 'JEPA':
        """Set the mode; EMA copies always stay in evaluation mode.

        Args:
            mode: True for training.

        Returns:
            The algorithm.
        """
        super().train(mode)
        for copy in self.averages:
            getattr(self, copy).eval()
        return self

    def loss(
        self, inputs: Tensor, data_samples: list[DataSample], **kwargs
    ) -> dict[str, Tensor]:
        """Run one training step, top to bottom.

        Args:
            inputs: Images, ``(B, 3, height, width)``.
            data_samples: Their meta data; ``sample_idx`` keys the randomness.
            **kwargs: Ignored, for other data preprocessors.

        Returns:
            ``loss`` and, for the log, its terms and what the plan and the heads log.

        Raises:
            ValueError: If the images are not of the predictor's grid, the samples
                carry no index, nobody has set the clock, or a part logs what would
                count as a loss.
        """
        sample_idx = sample_indices(data_samples)
        clock = check_clock(self.clock)
        encoded = self.encode_target(inputs)  # full image, no gradient
        _check_grid(tuple(encoded.grid), getattr(self.neck, 'grid_size', None))
        if self.sample is not None:
            self.sample.add(encoded.patches)
        with torch.autocast(inputs.device.type, enabled=False):  # statistics: float32
            plan = self.mask_generator(encoded, sample_idx, clock, self.latent_loss)
        check_plan(plan, self.mask_generator)
        plan = plan.unroll() if self.unrolled else plan
        plan = plan.to(inputs.device)
        context = self.encode_context(inputs, plan)  # (R, Lc, D)
        prediction = self.neck(context, plan)  # (R, Lt, D)
        target = self.targets(encoded, plan)  # (R, Lt, D)
        loss, terms = split_log(self.head.loss(prediction, target, plan), self.head)
        log: dict[str, Tensor] = {}
        add_to_log(log, plan.log, self.mask_generator, 'plan')
        add_to_log(log, terms, self.head, 'head')
        if self.monitor:
            statistics = batch_statistics(prediction, target, plan)
            add_to_log(log, statistics, self, 'monitor')
        if self.regularizers:
            add_to_log(log, dict(latent=loss), self.head, 'head')
        for number, part in enumerate(self.regularizers):  # two may be of one kind
            added = part.loss(context, prediction, target, plan, clock)
            term, terms = split_log(added, part)
            loss = loss + term
            add_to_log(log, terms, part, number)
        return dict(loss=loss, **log)

    @torch.no_grad()
    def encode_target(self, inputs: Tensor):
        """Encode full images with the target encoder.

        Args:
            inputs: Images, ``(B, 3, height, width)``.

        Returns:
            An :class:`EncodedImage` with what the saliency proxy asks for.
        """
        return self.target_encoder.module.encode(
            inputs, self.mask_generator.hidden, self.mask_generator.attention
        )

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Encode full images as our tools do; mmpretrain's APIs call it.

        Args:
            inputs: Images, ``(B, 3, height, width)``, normalized.

        Returns:
            What the target encoder gives, by the backbone's ``out_type``.
        """
        return self.target_encoder.module(inputs)

    def encode_context(self, inputs: Tensor, plan: PredictionPlan) -> Tensor:
        """Encode the context of a plan; what the predictor reads.

        Args:
            inputs: Images, ``(B, 3, height, width)``.
            plan: The plan.

        Returns:
            ``(R, Lc, D)``.
        """
        return self.backbone(inputs, plan)

    @torch.no_grad()
    def targets(self, encoded, plan: PredictionPlan) -> Tensor:
        """Compute what is to be predicted at each target slot.

        Args:
            encoded: What :meth:`encode_target` returned.
            plan: The plan.

        Returns:
            ``(R, Lt, D)``, no gradient; those of padding slots mean nothing.
        """
        return plan.gather(as_target(encoded.patches), plan.target_ids)

    def latent_loss(self, patches: Tensor, plan: PredictionPlan) -> Tensor:
        """Compute the loss of full-image tokens predicting themselves, for Grad-CAM.

        Args:
            patches: Tokens of the full image, ``(B, P, D)``.
            plan: Which of them are context and which are targets.

        Returns:
            A scalar.
        """
        plan = plan.to(patches.device)
        context = plan.gather(patches, plan.context_ids)
        target = plan.gather(as_target(patches.detach()), plan.target_ids)
        result = self.head.loss(self.neck(context, plan), target, plan)
        return split_log(result, self.head)[0]


def _check_grid(grid: tuple[int, int], own: Sequence[int] | None) -> None:
    """Raise unless images have the rows and columns that the predictor is for."""
    if own is not None and grid != tuple(own):
        raise ValueError(
            f'the images have {grid[0]} rows and {grid[1]} columns of patches, the '
            f'predictor was built for {own[0]} and {own[1]}: make the crop of the data '
            'pipeline equal to img_size of the backbone (that and the scale of '
            'RandomResizedCrop are height, width; that of Resize is width, height)'
        )


@MODELS.register_module()
class DSeqJEPA(JEPA):
    """`DSeq-JEPA <https://arxiv.org/abs/2511.17354>`_: regions from the most to the
    least discriminative, each predicted from those before it.
    """

    default_mask_generator = dict(type='dseq_mm.DiscriminativeMaskGenerator')


@MODELS.register_module()
class IJEPA(JEPA):
    """`I-JEPA <https://arxiv.org/abs/2301.08243>`_: random target blocks, each
    predicted from one large context block.
    """

    default_mask_generator = dict(type='dseq_mm.MultiBlockMaskGenerator')


@MODELS.register_module()
class CJEPA(IJEPA):
    """`C-JEPA <https://arxiv.org/abs/2410.19560>`_: I-JEPA, and VICReg's terms on its
    predictions.
    """

    default_regularizers = (dict(type='dseq_mm.VICRegHead'),)


@MODELS.register_module()
class DSeqCJEPA(DSeqJEPA):
    """DSeq-C-JEPA (DSeq-JEPA's paper): DSeq-JEPA, and VICReg's terms on its
    predictions.
    """

    default_regularizers = (dict(type='dseq_mm.VICRegHead'),)


@MODELS.register_module()
class NEPA(JEPA):
    """`NEPA <https://arxiv.org/abs/2512.16922>`_: each patch embedding predicted from
    those before it in raster order.

    Give it ``neck=dict(type='NextPatchPredictor')``, a head of cosine distance, and a
    constant momentum: the targets come from the backbone itself, so the target encoder
    is nothing but the average of the weights that the paper evaluates.

    Not as in the paper, for the backbone is the one of all methods here: sine-cosine
    positions are added to the input instead of rotated into queries and keys, which are
    not normalized; there is no class token, hence no prediction of the first patch.
    """

    default_mask_generator = dict(type='dseq_mm.RasterMaskGenerator')

    @torch.no_grad()
    def encode_target(self, inputs: Tensor) -> EncodedImage:
        """Embed the patches with the backbone's own embedding, without positions.

        Args:
            inputs: Images, ``(B, 3, height, width)``.

        Returns:
            An :class:`EncodedImage` of the embedding alone.

        Raises:
            ValueError: If the mask generator reads a saliency from some block.
        """
        if self.mask_generator.hidden or self.mask_generator.attention:
            raise ValueError(
                'NEPA has no target encoder whose blocks a saliency could be read '
                "from: take mask_generator=dict(type='RasterMaskGenerator')"
            )
        patches, grid = self.backbone.patch_embed(inputs)
        # older versions of torch cache autocast's copy of the weights without gradient
        torch.clear_autocast_cache()
        return EncodedImage(patches, grid)

    @torch.no_grad()
    def targets(self, encoded: EncodedImage, plan: PredictionPlan) -> Tensor:
        """See :meth:`JEPA.targets`; embeddings are not normalized."""
        return plan.gather(encoded.patches, plan.target_ids)


def as_target(patches: Tensor) -> Tensor:
    """Normalize features over channels, no affine: what is predicted (I-JEPA).

    Args:
        patches: Target-encoder tokens, ``(..., D)``.

    Returns:
        The same shape, at least float32, zero mean and unit variance over ``D``.
    """
    return F.layer_norm(as_float32(patches), patches.shape[-1:])


def sample_indices(data_samples: list[DataSample]) -> Tensor:
    """Find the dataset index of each image, which keys its random masks.

    Args:
        data_samples: Meta data of the images, with ``sample_idx``.

    Returns:
        ``(B,)``, int64, on the host, where plans are made.

    Raises:
        ValueError: If the samples carry no index.
    """
    try:
        indices = [sample.sample_idx for sample in data_samples]
    except (TypeError, AttributeError):
        raise ValueError(
            "data samples carry no 'sample_idx', which keys the random masks. End "
            "the pipeline with dict(type='PackInputs') and keep 'sample_idx' in "
            'its meta_keys.'
        ) from None
    return torch.tensor(indices, dtype=torch.int64)
