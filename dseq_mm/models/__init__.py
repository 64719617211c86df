"""Algorithms, encoders, predictor, heads, mask generators and saliency proxies."""

from .ema import TargetEncoder
from .encoder import EncodedImage, JEPAViT
from .heads import LatentPredictionHead, RegularizerHead
from .jepa import CJEPA, IJEPA, JEPA, DSeqCJEPA, DSeqJEPA, TrainingClock
from .mask_generators import (
    DiscriminativeMaskGenerator,
    MaskGenerator,
    MultiBlockMaskGenerator,
)
from .predictor import JEPAPredictor
from .saliency import ClassTokenAttention, ClassTokenSimilarity, GradCAM, SaliencyProxy

__all__ = [
    'CJEPA',
    'ClassTokenAttention',
    'ClassTokenSimilarity',
    'DSeqCJEPA',
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
    'RegularizerHead',
    'SaliencyProxy',
    'TargetEncoder',
    'TrainingClock',
]
