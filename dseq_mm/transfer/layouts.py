"""Files of other projects, told by their keys and renamed to MMPretrain's.

Shape legend: ``P`` the number of patches, ``D`` channels.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .names import (
    FROM_HUGGING_FACE,
    FROM_PREDICTOR,
    FROM_TIMM,
    PREDICTOR,
    TIMM,
    join_projections,
    rename,
)

# no part of an encoder: heads, decoders and mask tokens
_BESIDE = re.compile(
    r'(head|head_dist|fc_norm|dino_head|ibot_head|pooler|classifier|decoder)\.'
    r'|(embeddings\.)?mask_token$|masked_embed$|decoder_'
)
_TIMM_MARK = 'patch_embed.proj.weight'
_HF_MARK = 'embeddings.patch_embeddings.projection.weight'
#: What stands before all names of an encoder: wrappers, and models that contain it.
_WRAPPERS = re.compile(r'(?:module\.|backbone\.|_orig_mod\.)+')
#: Names of the two encoders: I-JEPA's and DSeq-JEPA's, and those of DINO and iBOT.
_PAIRS = (('target_encoder', 'encoder'), ('teacher', 'student'))
_PREFIXES = ('target_encoder.module.', 'backbone.')


class Layout(NamedTuple):
    """What a file was found to be.

    Attributes:
        name: In words.
        state: Its tensors under MMPretrain's names, with the prefixes of a pre-training
            checkpoint where the file has two encoders.
    """

    name: str
    state: dict[str, Tensor]


def read_layout(checkpoint: dict) -> Layout | None:
    """Rename the networks of a file of another project.

    Read are files of I-JEPA and DSeq-JEPA (both encoders and the predictor), of DINO
    and iBOT (teacher and student), MAE and DINOv2, names of timm, and those of Hugging
    Face's `IJepaModel`, `ViTModel`, `ViTMAEModel` and `Dinov2Model`, alone or within
    another model. Position embeddings are copied, never made anew; DSeq-JEPA's has no
    row for the class token, and gets one of zeros.

    Args:
        checkpoint: What the file holds.

    Returns:
        What was found; None if this is none of those layouts.

    Raises:
        ValueError: An encoder has a part that MMPretrain's ViT has not.
    """
    for names in _PAIRS:
        found = [checkpoint.get(name) for name in names]
        if not _is_timm(found[0]):
            continue
        predictor = _predictor(checkpoint.get('predictor'))
        patches = predictor['pos_embed'].shape[1] if 'pos_embed' in predictor else None
        state = {
            prefix + key: value
            for prefix, part in zip(_PREFIXES, found, strict=True)
            if isinstance(part, dict) and _is_timm(part)
            for key, value in _with_row(_encoder(part, FROM_TIMM), patches).items()
        }
        state |= {f'neck.{key}': value for key, value in predictor.items()}
        jepa = names[0] == 'target_encoder'
        return Layout('of I-JEPA or DSeq-JEPA' if jepa else 'of DINO or iBOT', state)
    state = checkpoint.get('model', checkpoint.get('state_dict', checkpoint))
    if _is_timm(state):
        encoder = _with_row(_encoder(state, FROM_TIMM), _written_patches(checkpoint))
        return Layout('with the names of timm', encoder)
    if isinstance(state, dict):
        for key in state:
            if isinstance(key, str) and key.endswith(_HF_MARK):
                part = _below(state, key.removesuffix(_HF_MARK))
                return Layout('of Hugging Face', _encoder(part, FROM_HUGGING_FACE))
    return None


def to_ijepa(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Write a pre-training checkpoint in the layout of I-JEPA's own files.

    Args:
        state: Under our names, with both encoders or the target encoder alone, and
            perhaps with the predictor (``neck.``).

    Returns:
        ``encoder``, ``target_encoder`` and ``predictor``, as far as they are there; a
        class token keeps its row of the position embedding.

    Raises:
        ValueError: There is no target encoder, or a tensor has no place in that layout.
    """
    places = dict(
        encoder=(_PREFIXES[1], TIMM),
        target_encoder=(_PREFIXES[0], TIMM),
        predictor=('neck.', PREDICTOR),
    )
    written: dict[str, dict[str, Tensor]] = {}
    for part, (prefix, names) in places.items():
        for key, value in state.items():
            if not key.startswith(prefix):
                continue
            name = rename(key.removeprefix(prefix), names)
            if name is None:
                raise ValueError(f'"{key}" has no place in a file of I-JEPA')
            written.setdefault(part, {})[f'module.{name}'] = value
    if 'target_encoder' not in written:
        raise ValueError(
            'a file of I-JEPA has a target encoder, and this has none: take a '
            'pre-training checkpoint'
        )
    return written


def _is_timm(node: Any) -> bool:
    """Whether these are the weights of a ViT under timm's names."""
    return isinstance(node, dict) and any(
        isinstance(key, str)
        and key.endswith(_TIMM_MARK)
        and _WRAPPERS.sub('', key, 1) == _TIMM_MARK
        for key in node
    )


def _below(state: dict, prefix: str) -> dict[str, Any]:
    """What stands below a prefix; all heads of the whole model are left out."""
    return {
        key.removeprefix(prefix): value
        for key, value in state.items()
        if isinstance(key, str) and key.startswith(prefix)
    }


def _tensors(state: dict) -> Iterator[tuple[str, Tensor]]:
    """Tensors and their names without wrappers."""
    for key, value in state.items():
        if isinstance(key, str) and isinstance(value, Tensor):
            name = _WRAPPERS.sub('', key, 1) if _WRAPPERS.match(key) else key
            # blocks in chunks (DINOv2): blocks.CHUNK.NUMBER
            yield re.sub(r'^blocks\.\d+\.(\d+)\.', r'blocks.\1.', name), value


def _encoder(state: dict, names: Mapping[str, str]) -> dict[str, Tensor]:
    """One encoder under MMPretrain's names."""
    renamed = {}
    for key, value in _tensors(state):
        # transformers 5 leaves `encoder.layer` out of some models
        known = re.sub(r'^layers\.', 'encoder.layer.', key)
        name = rename(known if names is FROM_HUGGING_FACE else key, names)
        if name is not None:
            renamed[name] = value
        elif not _BESIDE.match(key):
            raise ValueError(
                f'the file has the weights of a ViT under the names of '
                f'{"Hugging Face" if names is FROM_HUGGING_FACE else "timm"}, and '
                f'"{key}" beside them, which MMPretrain\'s VisionTransformer has not: '
                'this network cannot be read'
            )
    return join_projections(renamed)


def _with_row(state: dict[str, Tensor], patches: int | None) -> dict[str, Tensor]:
    """Give a class token without a position (DSeq-JEPA's) one of zeros.

    Args:
        state: An encoder under MMPretrain's names.
        patches: ``P`` where it is known; else a square number of rows is taken for it.
    """
    position = state.get('pos_embed')
    if position is None or 'cls_token' not in state or position.ndim != 3:
        return state
    rows = position.shape[1]  # P or 1 + P
    if rows != (patches or math.isqrt(rows) ** 2):
        return state
    row = position.new_zeros(1, 1, position.shape[-1])
    return {**state, 'pos_embed': torch.cat([row, position], dim=1)}  # (1, 1 + P, D)


def _written_patches(checkpoint: dict) -> int | None:
    """The number of patches that our own exports tell."""
    meta = checkpoint.get('meta')
    facts = meta.get('architecture') if isinstance(meta, dict) else None
    grid = facts.get('grid') if isinstance(facts, dict) else None
    return math.prod(grid) if isinstance(grid, list) and len(grid) == 2 else None


def _predictor(state: Any) -> dict[str, Tensor]:
    """A predictor under our names; empty if it is none that we know whole."""
    if not isinstance(state, dict):
        return {}
    names = {key: rename(key, FROM_PREDICTOR) for key, _ in _tensors(state)}
    if None in names.values():
        return {}
    return {str(names[key]): value for key, value in _tensors(state)}
