"""Small models for tests."""

import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from dseq_mm.models import TrainingClock

ARCH = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)


def jepa_config(method='DSeqJEPA', image=(12, 16), cls_token=None, **kwargs):
    """Config of a tiny algorithm; patches of 4 px."""
    cls_token = method == 'DSeqJEPA' if cls_token is None else cls_token
    if method == 'DSeqJEPA':
        kwargs.setdefault(
            'mask_generator',
            dict(
                type='DiscriminativeMaskGenerator',
                saliency=dict(type='ClassTokenSimilarity', block=1),
                num_regions=4,
            ),
        )
    return dict(
        type=method,
        backbone=dict(
            type='JEPAViT',
            arch=ARCH,
            img_size=image,
            patch_size=4,
            with_cls_token=cls_token,
        ),
        neck=dict(type='JEPAPredictor', predictor_dims=8, depth=2, num_heads=2),
        head=dict(type='LatentPredictionHead'),
        **kwargs,
    )


def build_jepa(seed=0, spread=True, **kwargs):
    """Build and initialize; ``spread`` makes all parameters clearly non-zero."""
    torch.manual_seed(seed)
    model = MODELS.build(jepa_config(**kwargs))
    model.init_weights()
    if spread:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if 'pos_embed' not in name:
                    parameter.add_(0.2 * torch.randn_like(parameter))
    model.clock = TrainingClock()
    return model


def samples(indices):
    """Data samples with dataset indices."""
    return [
        DataSample(metainfo=dict(sample_idx=i, img_path=f'{i}.png')) for i in indices
    ]


def images(count, size=(12, 16), seed=0, dtype=torch.float32):
    """Random images."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, *size, generator=generator, dtype=dtype)
