"""Algorithms, encoders, predictor, heads, mask generators and saliency proxies."""

from .ema import TargetEncoder
from .encoder import EncodedImage, JEPAViT
from .heads import LatentPredictionHead, RegularizerHead, SIGRegHead, VICRegHead
from .jepa import CJEPA, IJEPA, JEPA, NEPA, DSeqCJEPA, DSeqJEPA, TrainingClock
from .mask_generators import (
    DiscriminativeMaskGenerator,
    MaskGenerator,
    MultiBlockMaskGenerator,
    RasterMaskGenerator,
)
from .next_patch import NextPatchPredictor
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
    'NEPA',
    'NextPatchPredictor',
    'RasterMaskGenerator',
    'RegularizerHead',
    'SIGRegHead',
    'SaliencyProxy',
    'TargetEncoder',
    'TrainingClock',
    'VICRegHead',
]
