"""Losses, each a registered head: the latent loss, and what can be added to it."""

from .base import RegularizerHead, gather_images
from .latent import LatentPredictionHead

__all__ = ['LatentPredictionHead', 'RegularizerHead', 'gather_images']
