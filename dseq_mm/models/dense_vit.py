"""The pre-trained ViT as a backbone of detectors, segmentors and probes.

Shape legend: ``B`` images, ``P`` patches on a grid ``(H, W)``, ``K`` class tokens (0 or
1), ``D`` channels.
"""

import contextlib
from collections.abc import Sequence

import torch
from mmengine.registry import MODELS
from mmpretrain.models.utils import resize_pos_embed
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..utils.values import check_counts
from .encoder import JEPAViT
from .windows import WindowedEncoderLayer, Windows


@MODELS.register_module()
class DenseViT(JEPAViT):
    """Vision Transformer for images of any size, with the weights of a pre-trained one.

    It has the parameters of :class:`~dseq_mm.models.JEPAViT`, hence of mmpretrain's
    VisionTransformer, under the same names, and gives the same features on the
    pre-training grid. Registered in mmengine's root registry: ``type='DenseViT'`` is
    found from mmpretrain, mmdet and mmseg. Inputs that are no multiple of the patch
    size are padded at the bottom and at the right.

    Args:
        arch: As for JEPAViT.
        img_size: Image size of the pre-training, in pixels. Position embeddings are
            resized from its grid to that of the input.
        patch_size: Side of a patch in pixels.
        out_indices: Blocks (from 0) whose outputs to return, rising; -1 is the last.
        out_type: ``'featmap'``, or another of mmpretrain's VisionTransformer.
        window_size: Side of the attention windows in patches; None for attention over
            the whole map in all blocks.
        global_blocks: Blocks that attend over the whole map nevertheless; by default
            those of ``out_indices``.
        with_cp: Recompute the blocks in the backward pass, which saves memory.
        dtype: ``'bfloat16'`` runs the backbone under autocast and returns float32, so
            that heads and losses that know no bfloat16 work; None changes nothing.
        frozen: Run in evaluation mode and without gradient, always (probes).
        norm_all: Apply the final norm to the outputs of all blocks, not of the last
            alone (probes).
        **kwargs: Everything else that JEPAViT takes.

    Raises:
        ValueError: An argument is out of range.
    """

    layer_type = WindowedEncoderLayer

    def __init__(
        self,
        arch='base',
        img_size=224,
        patch_size: int = 16,
        out_indices: int | Sequence[int] = -1,
        out_type: str = 'featmap',
        window_size: int | None = None,
        global_blocks: Sequence[int] | None = None,
        with_cp: bool = False,
        dtype: str | None = None,
        frozen: bool = False,
        norm_all: bool = False,
        **kwargs,
    ) -> None:
        if dtype not in (None, 'bfloat16'):
            raise ValueError(f"dtype is 'bfloat16' or None, not {dtype!r}")
        if window_size is not None:
            check_counts(self, window_size=window_size)
        out_indices = [out_indices] if isinstance(out_indices, int) else out_indices
        super().__init__(
            arch=arch,
            img_size=img_size,
            patch_size=patch_size,
            out_indices=list(out_indices),  # the host changes the list in place
            out_type=out_type,
            with_cp=with_cp,
            **kwargs,
        )
        self.window_size = window_size
        self.dtype, self.norm_all = dtype, norm_all
        self._check_blocks(self.out_indices)
        self.global_blocks = self._check_blocks(
            self.out_indices if global_blocks is None else global_blocks
        )
        self.frozen = frozen
        if frozen:
            self.requires_grad_(False)
            self.train(False)

    def forward(  # type: ignore[override]  # images are whole: there is no plan
        self, images: Tensor
    ) -> tuple[Tensor, ...]:
        """Compute the outputs of the chosen blocks.

        Args:
            images: ``(B, 3, height, width)``.

        Returns:
            One tensor per block of ``out_indices``, by default maps ``(B, D, H, W)``.

        Raises:
            ValueError: If the patch size does not divide the images and the output is
                no map: padding would take part in it.
        """
        if self.out_type != 'featmap':
            self._check_size(images.shape[-2:])
        autocast = (
            torch.autocast(images.device.type, getattr(torch, self.dtype))
            if self.dtype
            else contextlib.nullcontext()
        )
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            with autocast:
                outputs = self._run_blocks(images)
        return tuple(output.float() if self.dtype else output for output in outputs)

    def train(self, mode: bool = True) -> 'DenseViT':
        """Set the mode; a frozen backbone stays in evaluation mode.

        Args:
            mode: True for training.

        Returns:
            The backbone.
        """
        super().train(mode and not getattr(self, 'frozen', False))
        return self

    def _run_blocks(self, images: Tensor) -> list[Tensor]:
        tokens, grid = self.patch_embed(images)  # (B, P, D)
        if self.cls_token is not None:
            class_token = self.cls_token.expand(len(tokens), -1, -1)
            tokens = torch.cat([class_token, tokens], dim=1)  # (B, K + P, D)
        positions = resize_pos_embed(
            self.pos_embed,
            self.patch_resolution,
            grid,
            mode=self.interpolate_mode,
            num_extra_tokens=self.num_extra_tokens,
        )
        tokens = self.pre_norm(self.drop_after_pos(tokens + positions))
        outputs = []
        for block, layer in enumerate(self.layers):
            windows = self._windows(block, grid)
            if self.with_cp and self.training and torch.is_grad_enabled():
                tokens = checkpoint(layer, tokens, windows, use_reentrant=False)
            else:
                tokens = layer(tokens, windows)
            if block in self.out_indices:
                normed = self.norm_all or block == self.num_layers - 1
                output = self._final_norm(tokens) if normed else tokens
                outputs.append(self._format_output(output, grid))
        return outputs

    def _windows(self, block: int, grid: tuple[int, int]) -> Windows | None:
        """How a block cuts the grid; None where it attends over all of it."""
        if (
            self.window_size is None
            or block in self.global_blocks
            or max(grid) <= self.window_size
        ):
            return None
        return Windows(grid, self.window_size, self.num_extra_tokens)

    def _check_blocks(self, blocks: Sequence[int]) -> list[int]:
        found = [block + self.num_layers if block < 0 else block for block in blocks]
        if any(not 0 <= block < self.num_layers for block in found) or (
            found != sorted(set(found))
        ):
            raise ValueError(
                f'the backbone has blocks 0 to {self.num_layers - 1}; out_indices and '
                'global_blocks name some of them, each once and in rising order, not '
                f'{list(blocks)}'
            )
        return found
