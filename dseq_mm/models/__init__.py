"""Algorithms, encoders, predictor, heads, mask generators and saliency proxies."""

from ..clock import TrainingClock
from .dense_vit import DenseViT
from .ema import TargetEncoder
from .encoder import EncodedImage, JEPAViT
from .heads import (
    LatentPredictionHead,
    Projector,
    RegularizerHead,
    SIGRegHead,
    VICRegHead,
    gather_images,
    pool_blocks,
)
from .jepa import CJEPA, IJEPA, JEPA, NEPA, DSeqCJEPA, DSeqJEPA
from .mask_generators import (
    DiscriminativeMaskGenerator,
    MaskGenerator,
    MultiBlockMaskGenerator,
    RasterMaskGenerator,
)
from .necks import ConcatPooling
from .next_patch import NextPatchPredictor
from .predictor import JEPAPredictor
from .saliency import (
    ClassTokenAttention,
    ClassTokenSimilarity,
    GradCAM,
    SaliencyProxy,
    TokenContrast,
    TokenNorm,
)

__all__ = [
    'CJEPA',
    'ClassTokenAttention',
    'ClassTokenSimilarity',
    'ConcatPooling',
    'DSeqCJEPA',
    'DSeqJEPA',
    'DenseViT',
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
    'Projector',
    'RasterMaskGenerator',
    'RegularizerHead',
    'SIGRegHead',
    'SaliencyProxy',
    'TargetEncoder',
    'TokenContrast',
    'TokenNorm',
    'TrainingClock',
    'VICRegHead',
    'gather_images',
    'pool_blocks',
]
