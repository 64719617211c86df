"""What a frozen backbone has learned: kNN, linear probe, effective rank."""

from .features import extract_features
from .knn import evaluate_config, knn_accuracy
from .knn_hook import KNNHook
from .probe import linear_accuracy
from .rank import feature_std, rank_me

__all__ = [
    'KNNHook',
    'evaluate_config',
    'extract_features',
    'feature_std',
    'knn_accuracy',
    'linear_accuracy',
    'rank_me',
]
