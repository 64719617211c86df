"""Data: keyed augmentation, and DigitScenes, which needs no download."""

from dseq_mm.data.digit_files import make_digit_scenes
from dseq_mm.data.keyed_dataset import KeyedDataset

__all__ = ['KeyedDataset', 'make_digit_scenes']
