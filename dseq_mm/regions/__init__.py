"""Regions: where an image is discriminative, and in what order."""

from .blocks import block_boxes, random_blocks
from .components import label_components
from .fill import fill_regions, random_regions, replace_regions
from .order import ORDERS, order_regions
from .rule import RegionRule, Regions, Source
from .saliency import class_token_similarity, grad_cam, normalize_saliency
from .selection import select_regions
from .threshold import otsu_threshold, quantize

__all__ = [
    'ORDERS',
    'RegionRule',
    'Regions',
    'Source',
    'block_boxes',
    'class_token_similarity',
    'fill_regions',
    'grad_cam',
    'label_components',
    'normalize_saliency',
    'order_regions',
    'otsu_threshold',
    'quantize',
    'random_blocks',
    'random_regions',
    'replace_regions',
    'select_regions',
]
