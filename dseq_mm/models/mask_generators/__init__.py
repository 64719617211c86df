"""Mask generators: where plans come from."""

from .base import MaskGenerator
from .discriminative import DiscriminativeMaskGenerator
from .multi_block import MultiBlockMaskGenerator
from .raster import RasterMaskGenerator

__all__ = [
    'DiscriminativeMaskGenerator',
    'MaskGenerator',
    'MultiBlockMaskGenerator',
    'RasterMaskGenerator',
]
