"""Small ViTs and a pre-training checkpoint made of two of them."""

import pytest
import torch
from mmengine.config import Config
from mmpretrain.models import VisionTransformer
from torch import nn

ARCH = dict(embed_dims=32, num_layers=4, num_heads=2, feedforward_channels=64)


def build_vit(**settings):
    """A small ViT with weights that no initialization would give."""
    seed = settings.pop('seed', 0)
    default = dict(arch=ARCH, img_size=32, patch_size=8, out_type='featmap')
    module = VisionTransformer(**{**default, **settings})
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2, generator=generator)
    module.eval()
    return module


@pytest.fixture(name='build_vit')
def _build_vit():
    return build_vit


@pytest.fixture
def pretraining(tmp_path):
    """Path of a checkpoint with both encoders, and the encoders."""

    def make(**settings):
        context, target = build_vit(seed=1, **settings), build_vit(seed=2, **settings)
        state = {f'backbone.{k}': v for k, v in context.state_dict().items()}
        state.update(
            {f'target_encoder.module.{k}': v for k, v in target.state_dict().items()}
        )
        state['target_encoder.steps'] = torch.tensor(3)
        state['neck.mask_token'] = torch.zeros(1, 1, 8)
        backbone = dict(type='JEPAViT', arch=ARCH, img_size=32, patch_size=8)
        cfg = Config(dict(model=dict(backbone={**backbone, **settings})))
        meta = dict(cfg=cfg.pretty_text, epoch=2, iter=7)
        path = tmp_path / 'epoch_2.pth'
        torch.save(dict(state_dict=state, meta=meta), path)
        return path, context, target

    return make
