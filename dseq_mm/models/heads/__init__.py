"""Losses, each a registered head: the latent loss, and what can be added to it."""

from .base import RegularizerHead, gather_images
from .latent import LatentPredictionHead
from .sigreg import SIGRegHead
from .vicreg import VICRegHead

__all__ = [
    'LatentPredictionHead',
    'RegularizerHead',
    'SIGRegHead',
    'VICRegHead',
    'gather_images',
]
