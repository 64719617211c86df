"""Small ViTs, a pre-training checkpoint of two of them, and wrong checkpoints."""

import pytest
import torch
from mmengine.config import Config
from mmpretrain.models import VisionTransformer
from torch import nn

from dseq_mm.transfer.export import to_timm

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


class Attack:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return exec, (f'open({str(self.path)!r}, "w").close()',)


@pytest.fixture
def attack():
    """Contents of a file that make another file, at a path, when they are unpickled."""
    return Attack


WRONG = {
    'another prefix': 'carry another prefix',
    'another width': r'pos_embed \(1, 17, 64\) in the file, \(1, 17, 32\)',
    'other heads': 'num_heads 4 in the file, 2 in the model',
    'no class token': r'model\.backbone\.with_cls_token=False',
    'layer scales': r'model\.backbone\.layer_scale_init_value=1e-5',
    'register tokens': '"reg_token" beside them',
    'detector': 'finished detector or segmentor.*roi_head, rpn_head.*--encoder context',
    'segmentor': 'finished detector or segmentor.*auxiliary_head, decode_head',
    'truncated': 'truncated or of another kind',
    'code': 'never runs code from a file',
    'none': 'model.backbone.init_cfg.checkpoint=PATH',
}


def _wrong_contents(kind, marker):
    state = build_vit(seed=3).state_dict()
    heads = dict(
        detector=['rpn_head.conv', 'roi_head.bbox_head.fc'],
        segmentor=['decode_head.conv', 'auxiliary_head.conv'],
    )
    if kind in heads:
        state = {f'backbone.{key}': value for key, value in state.items()}
        state.update({f'{head}.weight': torch.zeros(2) for head in heads[kind]})
    elif kind == 'another prefix':
        state = {f'student.{key}': value for key, value in state.items()}
    elif kind == 'another width':
        state = build_vit(arch={**ARCH, 'embed_dims': 64}).state_dict()
    elif kind == 'no class token':
        state = build_vit(with_cls_token=False).state_dict()
    elif kind == 'layer scales':
        state = build_vit(layer_scale_init_value=1e-5).state_dict()
    elif kind == 'register tokens':
        state = {**to_timm(state), 'reg_token': torch.zeros(1, 4, 32)}
    contents = dict(state_dict=state)
    if kind == 'code':
        contents['meta'] = Attack(marker)
    if kind == 'other heads':
        backbone = dict(type='JEPAViT', arch={**ARCH, 'num_heads': 4})
        cfg = Config(dict(model=dict(backbone=backbone)))
        contents['meta'] = dict(cfg=cfg.pretty_text)
    return contents


@pytest.fixture
def wrong_checkpoint(tmp_path):
    """Makes a checkpoint that has to be refused.

    The returned function takes a key of WRONG; it returns the path (None for 'none'),
    the message to expect, and a file that must never come to exist.
    """

    def make(kind):
        marker, path = tmp_path / 'executed', tmp_path / 'wrong.pth'
        if kind == 'none':
            return None, WRONG[kind], marker
        torch.save(_wrong_contents(kind, marker), path)
        if kind == 'truncated':
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return str(path), WRONG[kind], marker

    return make


_SIZED = 'model = dict(backbone=dict(arch=dict(num_heads=2), img_size={}))'
_ODD_CONFIGS = {
    'cfg is None': None,
    'cfg is a number': 3,
    'model is a list': 'model = [1]',
    'backbone is a list': 'model = dict(backbone=[1])',
    'arch without heads': 'model = dict(backbone=dict(arch=dict(embed_dims=32)))',
    'arch is a number': 'model = dict(backbone=dict(arch=7))',
    'img_size is None': _SIZED.format('None'),
    'img_size is a text': _SIZED.format("'224'"),
    'img_size has one side': _SIZED.format('[32]'),
    'a key that is a list': 'model = {[1]: 2}',
    'deeply nested': 'model = ' + '[' * 5000,
}
# kind of an odd checkpoint, and whether its weights can be used
ODD = {
    **dict.fromkeys(_ODD_CONFIGS, True),
    'meta is a text': True,
    'meta is a list': True,
    'architecture is a text': True,
    'a grid of words': True,
    'state_dict is a list': False,
    'state_dict is None': False,
    'numbered keys': False,
    'all NaN': False,
    'one infinite': False,
    'flat pos_embed': False,
    'a scalar as patches': False,
}


def odd_contents(kind, state):
    """What an odd checkpoint of a ViT holds; `kind` is a key of ODD."""
    state = {key: value.clone() for key, value in state.items()}
    if kind in _ODD_CONFIGS:
        return dict(state_dict=state, meta=dict(cfg=_ODD_CONFIGS[kind]))
    meta = {
        'meta is a text': 'text',
        'meta is a list': [1, 2],
        'architecture is a text': dict(architecture='vit'),
        'a grid of words': dict(architecture=dict(grid='ab', num_heads='2')),
    }
    if kind in meta:
        return dict(state_dict=state, meta=meta[kind])
    key = next(key for key in state if key.endswith('pos_embed'))
    if kind == 'all NaN':
        state = {k: torch.full_like(v, float('nan')) for k, v in state.items()}
    elif kind == 'one infinite':
        state[key][0, 0, 0] = float('inf')
    elif kind == 'flat pos_embed':
        state[key] = state[key].flatten()
    elif kind == 'a scalar as patches':
        state[key.replace('pos_embed', 'patch_embed.projection.weight')] = torch.ones(
            ()
        )
    return {
        'state_dict is a list': dict(state_dict=list(state.values())),
        'state_dict is None': dict(state_dict=None),
        'numbered keys': dict(state_dict=dict(enumerate(state.values()))),
    }.get(kind, dict(state_dict=state))
