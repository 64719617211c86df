"""An encoder from any file that has one: two lines of Python, no config.

Shape legend: ``B`` images of ``(H, W)`` pixels, ``P`` patches, ``D`` channels.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..models.encoder import JEPAViT
from ..transfer.checkpoint import load_checkpoint
from ..transfer.contents import (
    check_vit,
    choose_encoder,
    facts_of,
    meta_of,
    pixels_of,
    regions_of,
)
from ..transfer.export import complete_facts
from ..transfer.initialize import load_backbone
from .features import last_blocks, pool


class Features(NamedTuple):
    """What an encoder says of images.

    Attributes:
        pooled: Mean of the patch tokens, ``(B, D)``.
        last4: The same of the last four blocks, ``(B, 4 * D)``.
        class_token: ``(B, D)``, or None.
        patches: Patch tokens, ``(B, P, D)``, row after row of the image.
    """

    pooled: Tensor
    last4: Tensor
    class_token: Tensor | None
    patches: Tensor


class Encoder(nn.Module):
    """A frozen ViT with the normalization that it was trained with.

    Args:
        backbone: The ViT.
        mean: Of red, green and blue, on the scale of 0 to 255.
        std: The same.
        regions: How its pre-training finds regions, as far as that is known.

    Attributes:
        image_size: Height and width that it was trained for; others are taken, too, if
            its patches divide them.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: JEPAViT,
        mean: list[float],
        std: list[float],
        regions: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.regions = regions or {}
        self.image_size = tuple(backbone.img_size)
        for name, values in dict(mean=mean, std=std).items():
            self.register_buffer(name, torch.tensor(values).reshape(1, 3, 1, 1) / 255)
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Features:
        """Encode images.

        Args:
            images: Red, green and blue, ``(B, 3, H, W)``, as bytes or from 0.0 to 1.0.

        Returns:
            All in float32; tokens are those after the final norm.

        Raises:
            ValueError: As :meth:`normalize`.
        """
        images = self.normalize(images)
        outputs = last_blocks(self.backbone, images)
        pooled, tokens = pool(outputs, self.backbone), outputs[-1].float()
        token = tokens[:, 0] if self.backbone.cls_token is not None else None
        patches = tokens[:, self.backbone.num_extra_tokens :]
        return Features(pooled['last'], pooled['last4'], token, patches)

    def normalize(self, images: Tensor) -> Tensor:
        """Make images what the ViT was trained on.

        Args:
            images: As for :meth:`forward`.

        Returns:
            Normalized, on the device of the encoder, ``(B, 3, H, W)``.

        Raises:
            ValueError: The shape or the type is another, or the patches do not divide
                the size.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(
                f'images are (B, 3, H, W), got {tuple(images.shape)}: put the channels '
                'before rows and columns, and one image in a batch of one'
            )
        if images.dtype == torch.uint8:
            images = images.float() / 255
        elif not images.is_floating_point():
            raise ValueError(
                f'images are bytes or numbers from 0.0 to 1.0, got {images.dtype}'
            )
        step = self.backbone.patch_size
        if any(side % step for side in images.shape[2:]):
            raise ValueError(
                f'{images.shape[2]} x {images.shape[3]} pixels are no whole number of '
                f'patches of {step}: resize or crop the images'
            )
        return (images.to(self.mean) - self.mean) / self.std


def load_encoder(
    file: str | Path,
    encoder: str = 'target',
    num_heads: int | None = None,
    device: torch.device | str | None = None,
) -> Encoder:
    """Build the ViT that a file holds, with the file's weights.

    Args:
        file: A checkpoint or export of ours, a file of I-JEPA, DSeq-JEPA, MAE, DINO,
            iBOT, DINOv2 or timm, or a folder that transformers has saved.
        encoder: 'target' or 'context', of a pre-training checkpoint with both.
        num_heads: Attention heads, where the file does not tell them and they are not
            those of the published ViTs of its width.
        device: Where to put it; the CPU by default.

    Returns:
        The encoder, in evaluation mode and without gradients.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read, is damaged, or holds no plain ViT.
    """
    checkpoint = load_checkpoint(Path(file).expanduser())
    name = str(file)
    _, state = choose_encoder(checkpoint, encoder, name)
    facts = facts_of(checkpoint, state)
    check_vit(facts, state, name)
    facts['num_heads'] = num_heads or facts['num_heads']
    complete_facts(facts, state, name)
    backbone = build_backbone(facts)
    load_backbone(backbone, checkpoint, encoder, tuple(facts['grid']))
    meta = meta_of(checkpoint)
    found = Encoder(backbone, **pixels_of(meta), regions=regions_of(meta))
    return found.to(device or 'cpu')


def build_backbone(facts: dict[str, Any]) -> JEPAViT:
    """Build a ViT from the facts of a file.

    Args:
        facts: As :func:`~dseq_mm.transfer.contents.facts_of` tells them, complete.

    Returns:
        The ViT, its weights not yet loaded.

    Raises:
        ValueError: Its patches are no squares, or the numbers do not fit together.
    """
    step, other = facts['patch_size']
    if step != other:
        raise ValueError(
            f'patches are squares here, those of the file have {step} x {other} pixels'
        )
    scale: dict[str, Any] = {}
    if facts['layer_scale']:
        scale['layer_scale_init_value'] = 1e-5
    return JEPAViT(
        arch=dict(
            embed_dims=facts['embed_dims'],
            num_layers=facts['depth'],
            num_heads=facts['num_heads'],
            feedforward_channels=facts['feedforward_channels'],
        ),
        img_size=tuple(side * step for side in facts['grid']),
        patch_size=step,
        with_cls_token=facts['class_token'],
        norm_cfg=dict(type='LN', eps=facts['norm_eps']),
        out_type='raw',
        **scale,
    )
