"""The JEPA parts of dseq_mm on backbones that are no ViT."""

from .masked_input import MaskedInputBackbone

__all__ = ['MaskedInputBackbone']
