"""Saliency proxies: where an image is discriminative, without labels.

Each is a module that turns the encoded full image into a map and declares which block
of the target encoder it reads. Blocks count from 0.

Shape legend: ``B`` images, ``P`` patches on a grid ``(H, W)``, ``D`` channels.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from ..clock import TrainingClock
from ..plan import PredictionPlan
from ..randomness import hash_integers, keyed_uniform
from ..regions import RegionRule, select_regions
from ..registry import MODELS
from ..utils.values import check_counts, is_count
from .encoder import EncodedImage
from .layers import as_float32

LatentLoss = Callable[[Tensor, PredictionPlan], Tensor]


class SaliencyProxy(BaseModule):
    """Base of the saliency proxies.

    Args:
        block: Block of the target encoder that is read, from 0.
        polarity: ``'as_is'``, or ``'inverted'``: what is least salient is most. Every
            proxy takes it.

    Raises:
        ValueError: If ``polarity`` is neither.
    """

    #: Blocks whose output or attention :meth:`JEPAViT.encode` has to keep.
    hidden: tuple[int, ...] = ()
    attention: tuple[int, ...] = ()
    #: Whether the encoder must have a class token.
    needs_class_token = True

    def __init__(self, block: int = -1, polarity: str = 'as_is') -> None:
        super().__init__()
        if polarity not in ('as_is', 'inverted'):
            raise ValueError(
                f"polarity must be 'as_is' or 'inverted', got {polarity!r}"
            )
        self.block, self.polarity = block, polarity
        if polarity == 'inverted':  # whatever forward the proxy has
            self.register_forward_hook(lambda proxy, inputs, saliency: -saliency)

    def check(self, depth: int, with_cls_token: bool) -> None:
        """Compare what the proxy needs with what the encoder has.

        Args:
            depth: Number of blocks of the encoder.
            with_cls_token: Whether it has a class token.

        Raises:
            ValueError: If the encoder cannot serve this proxy.
        """
        name = type(self).__name__
        if self.needs_class_token and not with_cls_token:
            raise ValueError(
                f'{name} needs a class token: set with_cls_token=True in the backbone '
                "if it is a ViT, else take saliency=dict(type='TokenContrast') or "
                "dict(type='GradCAM')"
            )
        reads = bool(self.hidden or self.attention)
        if reads and (not is_count(self.block, 0) or self.block >= depth):
            raise ValueError(
                f'{name} reads block {self.block} (counted from 0), but the encoder '
                f'has {depth}. The paper reads block 9 of 12; for a small model use '
                'depth - 3.'
            )

    def forward(
        self,
        encoded: EncodedImage,
        sample_idx: Tensor,
        clock: TrainingClock,
        latent_loss: LatentLoss,
    ) -> Tensor:
        """Compute the map.

        Args:
            encoded: The full image as the target encoder sees it.
            sample_idx: Dataset index of each image, ``(B,)``, for keyed randomness.
            clock: The time, and the seed of the run, likewise.
            latent_loss: Loss of predicting ``patches`` under a plan, from the
                algorithm; Grad-CAM differentiates it.

        Returns:
            Saliency, ``(B, H, W)``, float32, of any range.
        """
        raise NotImplementedError


@MODELS.register_module()
class ClassTokenSimilarity(SaliencyProxy):
    """Similarity of the class token and the patch tokens (paper, Sec. 3.2; default).

    Args:
        block: Block whose output is compared, before the final norm. The paper says the
            10th.
        query: ``'value'`` compares the class token's value at that block by cosine;
            ``'parameter'`` is the released code: scaled dot product of the bare
            class-token parameter with the patch tokens after the encoder's final norm,
            its trained scale and shift included.

        polarity: See :class:`SaliencyProxy`.

    Raises:
        ValueError: If ``query`` is neither.
    """

    def __init__(
        self, block: int = 9, query: str = 'value', polarity: str = 'as_is'
    ) -> None:
        super().__init__(block, polarity)
        if query not in ('value', 'parameter'):
            raise ValueError(f"query must be 'value' or 'parameter', got {query!r}")
        self.query = query
        self.hidden = (block,)

    def forward(
        self,
        encoded: EncodedImage,
        sample_idx: Tensor,
        clock: TrainingClock,
        latent_loss: LatentLoss,
    ) -> Tensor:
        """See :meth:`SaliencyProxy.forward`."""
        tokens = encoded.hidden[self.block].float()
        class_token, patches = tokens[:, 0], tokens[:, 1:]  # (B, D), (B, P, D)
        if self.query == 'value':
            saliency = class_token_similarity(class_token, patches)
        else:
            assert encoded.final_norm is not None and encoded.class_token is not None
            patches = encoded.final_norm(patches).float()
            parameter = encoded.class_token.float()  # (1, 1, D)
            saliency = (patches * parameter).sum(-1) / patches.shape[-1] ** 0.5
        return saliency.unflatten(1, encoded.grid)  # (B, P) -> (B, H, W)


@MODELS.register_module()
class ClassTokenAttention(SaliencyProxy):
    """Attention that the class token pays to the patches, mean over heads.

    Args:
        block: Block whose attention is read.
        polarity: See :class:`SaliencyProxy`.
    """

    def __init__(self, block: int = 9, polarity: str = 'as_is') -> None:
        super().__init__(block, polarity)
        self.attention = (block,)

    def forward(
        self,
        encoded: EncodedImage,
        sample_idx: Tensor,
        clock: TrainingClock,
        latent_loss: LatentLoss,
    ) -> Tensor:
        """See :meth:`SaliencyProxy.forward`."""
        # (B, P) -> (B, H, W)
        return encoded.attention[self.block].unflatten(1, encoded.grid)


class _PatchSaliency(SaliencyProxy):
    """What the patch tokens at a block say by themselves; no class token is needed."""

    needs_class_token = False

    def __init__(self, block: int = 9, polarity: str = 'as_is') -> None:
        super().__init__(block, polarity)
        self.hidden = (block,)

    def forward(
        self,
        encoded: EncodedImage,
        sample_idx: Tensor,
        clock: TrainingClock,
        latent_loss: LatentLoss,
    ) -> Tensor:
        """See :meth:`SaliencyProxy.forward`."""
        rows, columns = encoded.grid
        patches = encoded.hidden[self.block][:, -rows * columns :].float()  # (B, P, D)
        return self.of(patches).unflatten(1, encoded.grid)  # (B, P) -> (B, H, W)

    def of(self, patches: Tensor) -> Tensor:
        """Compute the saliency of patch tokens.

        Args:
            patches: ``(B, P, D)``.

        Returns:
            ``(B, P)``.
        """
        raise NotImplementedError


@MODELS.register_module()
class TokenContrast(_PatchSaliency):
    """Distance of each patch token from the mean patch token (ours, not the paper's).

    Args:
        block: Block whose output is compared, before the final norm.
        polarity: See :class:`SaliencyProxy`.
    """

    def of(self, patches: Tensor) -> Tensor:
        """See :meth:`_PatchSaliency.of`."""
        return (patches - patches.mean(1, keepdim=True)).norm(dim=2)


@MODELS.register_module()
class TokenNorm(_PatchSaliency):
    """Length of each patch token (ours, not the paper's).

    Args:
        block: Block whose output is measured, before the final norm.
        polarity: See :class:`SaliencyProxy`.
    """

    def of(self, patches: Tensor) -> Tensor:
        """See :meth:`_PatchSaliency.of`."""
        return patches.norm(dim=2)


@MODELS.register_module()
class GradCAM(SaliencyProxy):
    """Label-free Grad-CAM on the self-supervised loss (paper, Eq. 8).

    An extra predictor pass: the target encoder's own tokens are the context, each of a
    few disjoint random regions is predicted from all others, and the loss is
    differentiated with respect to those tokens. No parameter gradient is kept.

    Args:
        num_regions: Random regions that the grid is cut into.
        seed: Key of their randomness; None is the run's seed.
        polarity: See :class:`SaliencyProxy`.

    Raises:
        ValueError: If there are fewer than two regions.
    """

    needs_class_token = False

    def __init__(
        self,
        num_regions: int = 4,
        seed: int | None = None,
        polarity: str = 'as_is',
    ) -> None:
        super().__init__(polarity=polarity)
        check_counts(self, 2, num_regions=num_regions)
        self.num_regions, self.seed = num_regions, seed

    def forward(
        self,
        encoded: EncodedImage,
        sample_idx: Tensor,
        clock: TrainingClock,
        latent_loss: LatentLoss,
    ) -> Tensor:
        """See :meth:`SaliencyProxy.forward`."""
        seed = clock.seed if self.seed is None else self.seed
        key = hash_integers(seed, clock.epoch)
        plan = partition_plan(encoded.grid, sample_idx, self.num_regions, key)
        with torch.enable_grad():
            tokens = as_float32(encoded.patches.detach()).requires_grad_()
            (gradient,) = torch.autograd.grad(latent_loss(tokens, plan), tokens)
        saliency = grad_cam(tokens.detach(), gradient)  # (B, P)
        # the loss is a mean over the batch: its scale must not reach the regions
        peak = saliency.amax(1, keepdim=True)
        saliency = torch.where(peak > 0, saliency / peak, saliency)
        return saliency.unflatten(1, encoded.grid)  # (B, P) -> (B, H, W)


class GivenSaliency(SaliencyProxy):
    """A saliency that is there already, for what regions make of it.

    Args:
        saliency: ``(B, H, W)``.
    """

    needs_class_token = False

    def __init__(self, saliency: Tensor) -> None:
        super().__init__()
        self.saliency = saliency

    def forward(
        self,
        encoded: EncodedImage,
        sample_idx: Tensor,
        clock: TrainingClock,
        latent_loss: LatentLoss,
    ) -> Tensor:
        """See :meth:`SaliencyProxy.forward`."""
        return self.saliency


def partition_plan(
    grid: tuple[int, int], sample_idx: Tensor, num_regions: int, key: int
) -> PredictionPlan:
    """Cut the grid into random regions; each is predicted from all others.

    Args:
        grid: ``(H, W)``.
        sample_idx: Dataset index of each image, ``(B,)``.
        num_regions: ``N``.
        key: Hash of what all samples share.

    Returns:
        A plan of one step with ``B * N`` rows, sample-major; its targets cover the
        grid of each image once.
    """
    rule = RegionRule(num_regions=num_regions)
    draws = keyed_uniform(key, sample_idx, 4 * (num_regions - 1))
    # (B, 4 * (N - 1)) -> (B, N - 1, 4)
    draws = draws.unflatten(1, (num_regions - 1, 4))
    flat = torch.zeros(len(sample_idx), *grid)  # without saliency, at random
    rank = select_regions(flat, rule, draws).rank.flatten(1)  # (B, H, W) -> (B, P)
    region = torch.arange(num_regions, device=rank.device)
    # (B, N, P) -> (B * N, P)
    target = (rank[:, None] == region[:, None]).flatten(0, 1)
    plan = PredictionPlan.from_masks(torch.where(target, -1, 0), target[:, None], 1)
    return replace(plan, rows_per_sample=num_regions)


def class_token_similarity(class_token: Tensor, patches: Tensor) -> Tensor:
    """Compute the cosine between the class token and each patch token.

    Args:
        class_token: ``(B, D)``.
        patches: ``(B, P, D)``.

    Returns:
        Cosines in float32, ``(B, P)``.
    """
    return F.cosine_similarity(class_token.float()[:, None], patches.float(), dim=2)


def grad_cam(tokens: Tensor, gradients: Tensor) -> Tensor:
    """Compute Grad-CAM over tokens (Eq. 8 of the paper).

    Args:
        tokens: Patch tokens, ``(B, P, D)``.
        gradients: Gradient of a scalar with respect to them, ``(B, P, D)``.

    Returns:
        ReLU of the sum over channels of the tokens, weighted by the mean over patches
        of the gradient; float32, ``(B, P)``.
    """
    weights = gradients.float().mean(1, keepdim=True)  # (B, 1, D)
    return (tokens.float() * weights).sum(2).relu()
