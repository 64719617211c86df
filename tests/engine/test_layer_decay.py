"""Layer-wise decay gives each block of a detector's backbone its own rate."""

import pytest
from mmengine.optim import build_optim_wrapper
from torch import nn

from dseq_mm.models import DenseViT

ARCH = dict(embed_dims=16, num_layers=3, num_heads=2, feedforward_channels=32)


class Detector(nn.Module):
    """A model that cannot tell the depth of its parameters, as mmdet's."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.neck = nn.Conv2d(16, 8, 1)


def rates(model, **paramwise):
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.1),
            constructor='BackboneDecayOptimWrapperConstructor',
            paramwise_cfg=dict(layer_decay_rate=0.5, **paramwise),
        ),
    )
    names = {id(p): n for n, p in model.named_parameters()}
    return {
        names[id(p)]: (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for p in group['params']
    }


def test_rate_halves_with_each_block():
    model = Detector(DenseViT(arch=ARCH, img_size=16, patch_size=4))
    found = rates(model, norm_decay_mult=0.0, bias_decay_mult=0.0)
    assert found.keys() == {n for n, p in model.named_parameters() if p.requires_grad}
    assert 'backbone.pos_embed' not in found  # fixed
    for name, (rate, decay) in found.items():
        if name.startswith(('backbone.patch_embed', 'backbone.cls_token')):
            expected = 0.5**4
        elif name.startswith('backbone.layers'):
            expected = 0.5 ** (3 - int(name.split('.')[2]))
        else:
            expected = 1.0
        assert rate == expected, name
        no_decay = '.ln' in name or name.endswith('bias')
        assert decay == (0.0 if no_decay else 0.1), name


def test_backbone_without_depths_is_named():
    with pytest.raises(ValueError, match='Conv2d has no get_layer_depth'):
        rates(Detector(nn.Conv2d(3, 16, 1)))
    with pytest.raises(ValueError, match='NoneType'):
        rates(nn.Sequential(nn.Linear(2, 2)))
