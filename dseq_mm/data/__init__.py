"""Data: keyed augmentation, CLEVR, and DigitScenes, which needs no download."""

from dseq_mm.data.clevr import CLEVR, SingleTaskDataset
from dseq_mm.data.digit_files import make_digit_scenes
from dseq_mm.data.keyed_dataset import KeyedDataset

__all__ = ['CLEVR', 'KeyedDataset', 'SingleTaskDataset', 'make_digit_scenes']
