"""Key layouts of other projects, told by their keys and renamed to MMPretrain's.

Shape legend: ``P`` the number of patches, ``D`` channels.
"""

import math
import re
from typing import Any

import torch
from torch import Tensor

#: MMPretrain's names for those of timm, which MAE, I-JEPA and DSeq-JEPA share.
_NAMES = (
    (r'(cls_token|dist_token|pos_embed)', r'\1'),
    (r'patch_embed\.proj\.(\w+)', r'patch_embed.projection.\1'),
    (r'blocks\.(\d+)\.norm([12])\.(\w+)', r'layers.\1.ln\2.\3'),
    (r'blocks\.(\d+)\.attn\.(qkv|proj)\.(\w+)', r'layers.\1.attn.\2.\3'),
    (r'blocks\.(\d+)\.mlp\.fc1\.(\w+)', r'layers.\1.ffn.layers.0.0.\2'),
    (r'blocks\.(\d+)\.mlp\.fc2\.(\w+)', r'layers.\1.ffn.layers.1.\2'),
    (r'blocks\.(\d+)\.ls1\.gamma', r'layers.\1.attn.gamma1.weight'),
    (r'blocks\.(\d+)\.ls2\.gamma', r'layers.\1.ffn.gamma2.weight'),
    (r'norm\.(\w+)', r'ln1.\1'),
)
# no part of an encoder: heads, decoder and mask token of MAE
_BESIDE = re.compile(r'(head|head_dist|fc_norm)\.|mask_token$|decoder_')
_MARK = 'patch_embed.proj.weight'


def read_layout(checkpoint: dict) -> dict[str, Tensor] | None:
    """Rename the encoders of a file in the layout of another project.

    Read are I-JEPA's and DSeq-JEPA's (``encoder`` and ``target_encoder``, their
    predictor is left out), MAE's (``model``) and plain names of timm. Position
    embeddings are copied, never made anew; DSeq-JEPA's has no row for the class token,
    and gets one of zeros.

    Args:
        checkpoint: What the file holds.

    Returns:
        Tensors under MMPretrain's names, with the prefixes of a pre-training checkpoint
        where the file has two encoders; None if this is none of those layouts.

    Raises:
        ValueError: An encoder has a part that MMPretrain's ViT has not.
    """
    if _is_state(checkpoint.get('target_encoder')):
        parts = {'target_encoder.module.': checkpoint['target_encoder']}
        if _is_state(checkpoint.get('encoder')):
            parts['backbone.'] = checkpoint['encoder']
        return {
            prefix + key: value
            for prefix, part in parts.items()
            for key, value in _rename(part).items()
        }
    state = checkpoint.get('model', checkpoint.get('state_dict', checkpoint))
    return _rename(state) if _is_state(state) else None


def _is_state(node: Any) -> bool:
    """Whether these are the weights of a ViT under timm's names."""
    return isinstance(node, dict) and bool({_MARK, f'module.{_MARK}'} & node.keys())


def _rename(state: dict) -> dict[str, Tensor]:
    """One encoder under MMPretrain's names."""
    renamed = {}
    for key, value in state.items():
        if not isinstance(value, Tensor):
            continue
        key = key.removeprefix('module.')
        for pattern, name in _NAMES:
            if re.fullmatch(pattern, key):
                renamed[re.sub(pattern, name, key)] = value
                break
        else:
            if not _BESIDE.match(key):
                raise ValueError(
                    f'the file has the weights of a ViT under the names of timm, and '
                    f'"{key}" beside them, which MMPretrain\'s VisionTransformer has '
                    'not: this network cannot be read'
                )
    position = renamed.get('pos_embed')
    if position is not None and 'cls_token' in renamed and _lacks_a_row(position):
        row = position.new_zeros(1, 1, position.shape[-1])
        renamed['pos_embed'] = torch.cat([row, position], dim=1)  # (1, 1 + P, D)
    return renamed


def _lacks_a_row(position: Tensor) -> bool:
    """Whether a position embedding is of a square grid alone, ``(1, P, D)``."""
    return (
        position.ndim == 3 and math.isqrt(position.shape[1]) ** 2 == (position.shape[1])
    )
