"""Algorithms, encoders, predictor, heads, mask generators and saliency proxies."""

from .ema import TargetEncoder
from .encoder import EncodedImage, JEPAViT
from .heads import LatentPredictionHead
from .jepa import IJEPA, JEPA, DSeqJEPA, TrainingClock
from .mask_generators import (
    DiscriminativeMaskGenerator,
    MaskGenerator,
    MultiBlockMaskGenerator,
)
from .predictor import JEPAPredictor
from .saliency import ClassTokenAttention, ClassTokenSimilarity, GradCAM, SaliencyProxy

__all__ = [
    'ClassTokenAttention',
    'ClassTokenSimilarity',
    'DSeqJEPA',
    'DiscriminativeMaskGenerator',
    'EncodedImage',
    'GradCAM',
    'IJEPA',
    'JEPA',
    'JEPAPredictor',
    'JEPAViT',
    'LatentPredictionHead',
    'MaskGenerator',
    'MultiBlockMaskGenerator',
    'SaliencyProxy',
    'TargetEncoder',
    'TrainingClock',
]
