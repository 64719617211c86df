"""Losses, each a registered head: the latent loss, and what can be added to it."""

from .base import RegularizerHead, gather_images
from .latent import LatentPredictionHead
from .projector import Projector, pool_blocks
from .sigreg import SIGRegHead
from .vicreg import VICRegHead

__all__ = [
    'LatentPredictionHead',
    'Projector',
    'RegularizerHead',
    'SIGRegHead',
    'VICRegHead',
    'gather_images',
    'pool_blocks',
]
