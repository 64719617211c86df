"""The ViT of the JEPA family: MMPretrain's, plus a forward pass under a plan.

Shape legend: ``B`` images, ``R`` plan rows, ``P`` patches on a grid ``(H, W)``, ``Lc``
context slots, ``K`` class-token copies, ``D`` channels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from mmcv.cnn.bricks import DropPath
from mmcv.cnn.bricks.transformer import PatchEmbed
from mmengine.model import ModuleList
from mmpretrain.models.backbones import VisionTransformer
from mmpretrain.models.utils import resize_pos_embed, to_2tuple
from torch import Tensor, nn

from ..plan import PredictionPlan
from ..registry import MODELS
from ..utils.arguments import check_arguments
from ..utils.values import check_counts, check_numbers, check_rates
from .layers import (
    MaskedEncoderLayer,
    apply_init_cfg,
    init_transformer,
    run_layers,
    sincos_position_embedding,
)


@dataclass
class EncodedImage:
    """What the full image looks like to an encoder.

    Args:
        patches: Patch tokens after the final norm, ``(B, P, D)``.
        grid: Rows and columns of patches.
        hidden: Output of the blocks asked for, before the final norm, class token
            first, ``{block: (B, K + P, D)}``.
        attention: Attention of the class token over the patches in the blocks asked
            for, mean over heads, ``{block: (B, P)}``.
        class_token: The class-token parameter, ``(1, 1, D)``, or None.
        final_norm: The encoder's final norm, for what ``hidden`` holds.
    """

    patches: Tensor
    grid: tuple[int, int]
    hidden: dict[int, Tensor] = field(default_factory=dict)
    attention: dict[int, Tensor] = field(default_factory=dict)
    class_token: Tensor | None = None
    final_norm: Callable[[Tensor], Tensor] | None = None


@MODELS.register_module()
class JEPAViT(VisionTransformer):
    """Vision Transformer that can encode the context of a prediction plan.

    Parameters carry the names of :class:`mmpretrain.models.VisionTransformer`, so the
    state dict loads there without a converter, and without a plan the forward pass is
    the stock one. Position embeddings are fixed 2-D sine-cosine (I-JEPA), of any grid.

    Args:
        arch: Name of mmpretrain's ``arch_zoo`` ('base', 'large', 'huge', ...) or a dict
            with ``embed_dims``, ``num_layers``, ``num_heads``,
            ``feedforward_channels``.
        img_size: Height and width in pixels, or one number for both.
        patch_size: Side of a patch in pixels.
        with_cls_token: Add the class token. DSeq-JEPA's saliency needs it.
        out_type: Output of the stock forward pass, as mmpretrain has it.
        init_std: Deviation of the initial weights; I-JEPA's 0.02 suits widths of 768
            and more, narrow models need more.
        patch_init_std: The same of the patch embedding. 0.02 suits 16 px; small patches
            need more, else their content drowns in their position embedding and
            positions are all that is learnt.
        with_cp: Recompute the blocks in the backward pass, which saves memory.
        varlen: Attend without padding where nothing is hidden inside of a row, as in
            I-JEPA; on a CUDA device in half precision, without dropout of attention.
        **kwargs: Everything else that mmpretrain's VisionTransformer takes.

    Raises:
        ValueError: If a number is out of range, the patch size does not divide the
            image size, or ``arch``, ``layer_cfgs`` or ``patch_cfg`` has what nothing
            reads.
    """

    layer_type = MaskedEncoderLayer

    def __init__(
        self,
        arch='base',
        img_size=224,
        patch_size: int = 16,
        with_cls_token: bool = True,
        out_type: str = 'raw',
        init_std: float = 0.02,
        patch_init_std: float = 0.02,
        with_cp: bool = False,
        varlen: bool = False,
        **kwargs,
    ) -> None:
        check_counts(self, patch_size=patch_size)
        check_numbers(self, True, init_std=init_std, patch_init_std=patch_init_std)
        sides = to_2tuple(img_size)
        for side in sides:
            check_counts(self, img_size=side)
        self.patch_size = patch_size
        self._check_size(sides)
        self._check_options(arch, **kwargs)
        super().__init__(
            arch=arch,
            img_size=img_size,
            patch_size=patch_size,
            with_cls_token=with_cls_token,
            out_type=out_type,
            **kwargs,
        )
        self.init_std, self.patch_init_std = init_std, patch_init_std
        self.with_cp, self.varlen = with_cp, varlen
        self.num_heads = self.arch_settings['num_heads']
        self.layers = ModuleList(
            self.layer_type(**config) for config in self._layer_configs(kwargs)
        )
        #: Whether some layer drops paths, by ``drop_path_rate`` or ``layer_cfgs``.
        self.drops_paths = any(
            isinstance(part, DropPath) and part.drop_prob > 0
            for part in self.layers.modules()
        )
        self.pos_embed.requires_grad = False
        if self.frozen_stages > 0:
            self._freeze_stages()

    def init_weights(self) -> None:
        """Initialize as I-JEPA, then by ``init_cfg``; a second call changes nothing."""
        if self.is_init:
            return
        init_transformer(self, self.init_std)
        init_transformer(self.patch_embed, self.patch_init_std)
        self.pos_embed.data.copy_(
            sincos_position_embedding(
                self.patch_resolution, self.embed_dims, self.cls_token is not None
            )
        )
        if self.cls_token is not None:
            nn.init.trunc_normal_(self.cls_token, std=0.02)
        apply_init_cfg(self)

    def forward(self, images: Tensor, plan: PredictionPlan | None = None):
        """Encode the context of a plan, or the full image.

        Args:
            images: ``(B, 3, height, width)``.
            plan: Which patches each row holds and who sees whom. None runs the stock
                forward pass.

        Returns:
            Context tokens after the final norm, ``(R, Lc, D)``; without a plan a tuple
            of outputs as mmpretrain's VisionTransformer gives them.

        Raises:
            ValueError: If the patch size does not divide the images.
        """
        if plan is None:
            self._check_size(images.shape[-2:])
            return super().forward(images)
        tokens, _ = self._embed_patches(images)
        tokens = plan.gather(tokens, plan.context_ids)  # (R, Lc, D)
        copies = plan.num_context_steps if self.cls_token is not None else 0
        if copies:
            class_token = self.cls_token + self.pos_embed[:, :1]
            tokens = torch.cat(
                [class_token.expand(len(tokens), copies, -1), tokens], dim=1
            )  # (R, K + Lc, D)
        tokens = self.pre_norm(self.drop_after_pos(tokens))
        visible = plan.context_visibility(copies)
        if self.training and self.drops_paths:
            # drop path drops whole rows
            visible = visible._replace(slots=None, starts=None)
        tokens = run_layers(self.layers, tokens, visible, self.with_cp, self.varlen)
        return self._final_norm(tokens)[:, copies:]

    def encode(
        self,
        images: Tensor,
        hidden: Sequence[int] = (),
        attention: Sequence[int] = (),
    ) -> EncodedImage:
        """Encode the full image and keep what a saliency proxy asks for.

        Args:
            images: ``(B, 3, height, width)``.
            hidden: Blocks (from 0) whose output to keep.
            attention: Blocks whose class-token attention to keep.

        Returns:
            The encoded image.
        """
        tokens, grid = self._embed_patches(images)
        copies = self.num_extra_tokens
        if copies:
            class_token = self.cls_token + self.pos_embed[:, :1]
            tokens = torch.cat([class_token.expand(len(tokens), -1, -1), tokens], dim=1)
        tokens = self.pre_norm(self.drop_after_pos(tokens))
        encoded = EncodedImage(
            tokens, grid, class_token=self.cls_token, final_norm=self._final_norm
        )
        for block, layer in enumerate(self.layers):
            if block in attention:
                row = layer.attn.first_token_attention(layer.ln1(tokens))
                encoded.attention[block] = row[:, copies:]  # (B, P)
            tokens = layer(tokens)
            if block in hidden:
                encoded.hidden[block] = tokens
        encoded.patches = self._final_norm(tokens)[:, copies:]
        return encoded

    def _embed_patches(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Patch tokens with positions, ``(B, P, D)``, and their grid."""
        self._check_size(images.shape[-2:])
        tokens, grid = self.patch_embed(images)
        positions = resize_pos_embed(
            self.pos_embed,
            self.patch_resolution,
            grid,
            mode=self.interpolate_mode,
            num_extra_tokens=self.num_extra_tokens,
        )
        # the host's embedding is a view of (B, D, H, W)
        tokens = (tokens + positions[:, self.num_extra_tokens :]).contiguous()
        return tokens, tuple(grid)

    def _final_norm(self, tokens: Tensor) -> Tensor:
        return self.ln1(tokens) if self.final_norm else tokens

    def _check_size(self, size: Sequence[int]) -> None:
        if any(side % self.patch_size for side in size):
            raise ValueError(
                f'images of {size[0]}x{size[1]} px cannot be cut into patches of '
                f'{self.patch_size} px. Choose img_size and the crop of the data '
                'pipeline as multiples of patch_size.'
            )

    def _check_options(
        self,
        arch: str | dict,
        patch_cfg: dict | None = None,
        layer_cfgs: dict | Sequence[dict] = (),
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        **kwargs,
    ) -> None:
        """Raise ``ValueError`` if a dict has options that nothing reads, or a number is
        out of range.
        """
        check_rates(self, drop_rate=drop_rate, drop_path_rate=drop_path_rate)
        if isinstance(arch, str):
            settings = self.arch_zoo.get(arch.lower(), {})
        else:
            settings = arch
            check_arguments(arch, [*self.arch_zoo['base'], '_delete_'], 'arch')
            check_counts(self, **{k: v for k, v in arch.items() if k != '_delete_'})
        check_arguments(patch_cfg or {}, PatchEmbed, 'patch_cfg')
        each = [layer_cfgs] if isinstance(layer_cfgs, dict) else layer_cfgs
        for options in each:
            check_arguments(options, self.layer_type, 'layer_cfgs')
        depth = settings.get('num_layers')
        if each is layer_cfgs and layer_cfgs and len(layer_cfgs) != depth:
            raise ValueError(
                f'layer_cfgs is a list of {len(layer_cfgs)}, and there are {depth} '
                'layers: give one dict for each, or one for all'
            )

    def _layer_configs(self, kwargs: dict) -> Sequence[dict]:
        """Arguments of each layer, as mmpretrain's constructor resolves them."""
        settings = self.arch_settings
        drop_path = np.linspace(0, kwargs.get('drop_path_rate', 0.0), self.num_layers)
        overrides = kwargs.get('layer_cfgs', {})
        if isinstance(overrides, dict):
            overrides = [overrides] * self.num_layers
        shared = dict(
            embed_dims=self.embed_dims,
            num_heads=settings['num_heads'],
            feedforward_channels=settings['feedforward_channels'],
            layer_scale_init_value=kwargs.get('layer_scale_init_value', 0.0),
            drop_rate=kwargs.get('drop_rate', 0.0),
            qkv_bias=kwargs.get('qkv_bias', True),
            norm_cfg=kwargs.get('norm_cfg', dict(type='LN', eps=1e-6)),
        )
        return [
            {**shared, 'drop_path_rate': float(drop_path[block]), **overrides[block]}
            for block in range(self.num_layers)
        ]
