"""A tiny labeled dataset, a ViT and the loaders that kNN takes."""

import numpy as np
import pytest
from mmengine.registry import DefaultScope
from mmpretrain.datasets import BaseDataset
from mmpretrain.models import VisionTransformer
from mmpretrain.registry import DATASETS

ARCH = dict(embed_dims=32, num_layers=5, num_heads=2, feedforward_channels=64)


@DATASETS.register_module(force=True)
class Stripes(BaseDataset):
    """Images of class 0..2: stripes of as many widths, with noise."""

    def __init__(self, size=11, seed=0, labeled=True, **kwargs):
        self.size, self.seed, self.labeled = size, seed, labeled
        # serializing costs a slow garbage collection per dataset
        super().__init__(ann_file='', serialize_data=False, **kwargs)

    def load_data_list(self):
        rng = np.random.RandomState(self.seed)
        samples = []
        for index in range(self.size):
            stripes = np.arange(16) // 2 ** (index % 3 + 1) % 2
            image = 200 * stripes[None, :, None] + rng.randint(0, 40, (16, 16, 3))
            sample = dict(img=image.astype(np.uint8), sample_idx=index)
            samples.append(dict(sample, gt_label=index % 3) if self.labeled else sample)
        return samples


def loader_config(batch_size=4, sampler=None, collate='default_collate', **dataset):
    return dict(
        dataset=dict(type='Stripes', pipeline=[dict(type='PackInputs')], **dataset),
        batch_size=batch_size,
        num_workers=0,
        sampler=sampler or dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type=collate),
    )


@pytest.fixture(autouse=True)
def scope():
    """Other tests may leave another scope behind."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


@pytest.fixture(name='loader_config')
def _loader_config():
    return loader_config


@pytest.fixture
def preprocessor():
    return dict(
        type='SelfSupDataPreprocessor', mean=[128.0] * 3, std=[64.0] * 3, to_rgb=True
    )


@pytest.fixture
def build_vit():
    def build(**settings):
        default = dict(arch=ARCH, img_size=16, patch_size=4, drop_rate=0.1)
        module = VisionTransformer(**{**default, **settings})
        module.init_weights()
        return module

    return build
