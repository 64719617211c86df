"""Data: keyed augmentation, CLEVR, and DigitScenes, which needs no download."""

from dseq_mm.data.clevr import CLEVR, SingleTaskDataset
from dseq_mm.data.digit_files import make_digit_scenes
from dseq_mm.data.image_folder import ImageFolder, ImageNetFolder
from dseq_mm.data.keyed_dataset import KeyedDataset
from dseq_mm.data.load_image import LoadImage
from dseq_mm.data.own_images import OwnImages
from dseq_mm.data.resized_crop import AntialiasedResizedCrop

__all__ = [
    'AntialiasedResizedCrop',
    'CLEVR',
    'ImageFolder',
    'ImageNetFolder',
    'KeyedDataset',
    'LoadImage',
    'OwnImages',
    'SingleTaskDataset',
    'make_digit_scenes',
]
