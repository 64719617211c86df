"""The ViTs that configs exist for, and what is known of published ones."""

from typing import NamedTuple


class Architecture(NamedTuple):
    """A ViT that configs exist for.

    Attributes:
        embed_dims: Channels.
        depth: Blocks.
        patch_size: Side of a patch in pixels.
        grid: Patches per side at the pre-training size.
        pretraining: Name of its pre-training configs after that of the method.
        words: What it is called in messages and in the table.
        num_heads: Attention heads.
    """

    embed_dims: int
    depth: int
    patch_size: int
    grid: int
    pretraining: str
    words: str
    num_heads: int


ARCHITECTURES = {
    'vits16': Architecture(384, 12, 16, 14, 'vits16_100e', 'ViT-S/16 at 224 px', 6),
    'vitb16': Architecture(768, 12, 16, 14, 'vitb16_600e', 'ViT-B/16 at 224 px', 12),
    'vitl16': Architecture(1024, 24, 16, 14, 'vitl16_600e', 'ViT-L/16 at 224 px', 16),
    'vith14': Architecture(1280, 32, 14, 16, 'vith14_300e', 'ViT-H/14 at 224 px', 16),
    'vitg16': Architecture(1408, 40, 16, 14, 'vitg16_44e', 'ViT-g/16 at 224 px', 16),
    'vith16-448': Architecture(
        1280, 32, 16, 28, 'vith16-448_300e', 'ViT-H/16 at 448 px', 16
    ),
    'digits': Architecture(
        96, 4, 4, 6, 'digitscenes_20e', 'the ViT of DigitScenes at 24 px', 3
    ),
}
HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 16, 1536: 24}
"""Attention heads of the published ViTs, by channels."""
