"""Regions: where an image is discriminative. On the host, one image at a time."""

from .rule import RegionRule, Regions, Source
from .selection import normalize_saliency, replace_regions, select_regions

__all__ = [
    'RegionRule',
    'Regions',
    'Source',
    'normalize_saliency',
    'replace_regions',
    'select_regions',
]
