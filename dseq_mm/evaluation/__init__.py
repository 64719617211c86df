"""What a frozen backbone has learned: kNN, linear probe, effective rank."""

from .alignment import first_region_overlap, saliency_auc
from .alignment_hook import AlignmentHook
from .embedding import Embeddings, embed
from .encoder_file import Encoder, Features, load_encoder
from .features import extract_features
from .image_regions import ImageRegions, find_regions
from .knn import evaluate_config, knn_accuracy
from .knn_hook import KNNHook
from .pages import PAGES
from .picture_hook import PictureHook
from .pictures import Picture, read_pictures
from .probe import linear_accuracy
from .probe_hook import OnlineProbeHook
from .rank import feature_std, lidar, rank_me
from .rank_hook import EffectiveRankHook
from .step_loss import step_losses

__all__ = [
    'PAGES',
    'AlignmentHook',
    'EffectiveRankHook',
    'Embeddings',
    'Encoder',
    'Features',
    'ImageRegions',
    'KNNHook',
    'OnlineProbeHook',
    'Picture',
    'PictureHook',
    'embed',
    'evaluate_config',
    'extract_features',
    'feature_std',
    'find_regions',
    'first_region_overlap',
    'knn_accuracy',
    'lidar',
    'linear_accuracy',
    'load_encoder',
    'rank_me',
    'read_pictures',
    'saliency_auc',
    'step_losses',
]
