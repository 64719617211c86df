"""What a checkpoint holds: weights, encoders, facts. Nothing is taken on trust.

Shape legend: ``P`` the number of patches, ``K`` extra tokens (0 or 1), ``D`` channels.
"""

import hashlib
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

import torch
from mmpretrain.models import VisionTransformer
from torch import Tensor

from .config_text import read_config_text
from .folders import weight_files
from .layouts import read_layout

ENCODERS = dict(target='target_encoder.module.', context='backbone.')
_DENSE_HEAD = re.compile(r'(\w+_head|roi_heads)\.')  # not the `head.` of classifiers
_CLASS_HEAD = re.compile(r'head\.(?!predictor\.)')  # a predictor is MoCo v3's, BYOL's
NORM_EPS = 1e-6
"""Of the norms of a ViT, where a file does not say it."""
# mmpretrain tells these names to its zoo only when it builds such a network
_MOCO_V3_SMALL = dict.fromkeys(('mocov3-s', 'mocov3-small'), dict(num_heads=12))


def file_sha256(path: str | Path) -> str:
    """Compute the checksum of a file.

    Args:
        path: The file, or a folder that transformers has saved: of its weights.

    Returns:
        SHA-256 in hexadecimal digits.
    """
    digest = hashlib.sha256()
    path = Path(path)
    for name in weight_files(path) if path.is_dir() else [path]:
        with name.open('rb') as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def meta_of(checkpoint: dict) -> dict:
    """Find what a checkpoint says about itself.

    Args:
        checkpoint: What the file holds.

    Returns:
        Its ``meta``; empty where there is none or it is no dict.
    """
    meta = checkpoint.get('meta')
    return meta if isinstance(meta, dict) else {}


def state_dict_of(checkpoint: dict) -> dict[str, Tensor]:
    """Find the tensors of a checkpoint.

    Args:
        checkpoint: With the key ``state_dict``, a state dict itself, or in a layout
            that :func:`~dseq_mm.transfer.layouts.read_layout` knows.

    Returns:
        Name to tensor, without the ``module.`` of a distributed wrapper.

    Raises:
        ValueError: There are none, or those of a ViT that cannot be read.
    """
    if (known := read_layout(checkpoint)) is not None:
        return known.state
    state = checkpoint.get('state_dict', checkpoint)
    state = state if isinstance(state, dict) else {}
    state = {
        key: value
        for key, value in state.items()
        if isinstance(key, str) and isinstance(value, Tensor)
    }
    if not state:
        raise ValueError(
            'the checkpoint has no weights: neither a "state_dict" nor named tensors. '
            f'It has: {", ".join(map(str, list(checkpoint)[:10])) or "nothing"}.'
        )
    if all(key.startswith('module.') for key in state):
        state = {key[len('module.') :]: value for key, value in state.items()}
    return state


def method_of(meta: dict) -> str | None:
    """Read by which algorithm a checkpoint was trained.

    Args:
        meta: ``meta`` of a checkpoint, or metadata of an exported file.

    Returns:
        Class name, whatever class it is; None if the file does not say it.
    """
    model = _part(read_config_text(meta.get('cfg')), 'model')
    found = meta.get('method') or model.get('type')
    name = found.rpartition('.')[2] if isinstance(found, str) else ''
    return name if name.isidentifier() else None


def is_finished(state: dict[str, Tensor]) -> bool:
    """Tell a classifier, detector or segmentor from a pre-training checkpoint.

    Args:
        state: Name to tensor, as :func:`state_dict_of` returns it.

    Returns:
        Whether there is the head of one, and no target encoder.
    """
    heads = any(_DENSE_HEAD.match(key) or _CLASS_HEAD.match(key) for key in state)
    return heads and 'target' not in split_encoders(state)


def split_encoders(state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Find the encoders in a state dict.

    Args:
        state: Name to tensor, as :func:`state_dict_of` returns it.

    Returns:
        'target' and 'context' (the prefix ``backbone.``), where they exist, to their
        tensors without prefix; 'plain' where the names have no such prefix. Of MAE and
        MoCo v3 it is the trained encoder, 'context', as is usual for both; the momentum
        encoder of MoCo v3 is left out.
    """
    found = {
        encoder: {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
        for encoder, prefix in ENCODERS.items()
    }
    return {name: part for name, part in found.items() if part} or dict(plain=state)


def choose_encoder(
    checkpoint: dict, encoder: str = 'target', name: str = 'the state dict'
) -> tuple[str, dict[str, Tensor]]:
    """Find the encoder that a backbone starts from.

    Args:
        checkpoint: What a checkpoint or exported file holds.
        encoder: 'target' or 'context', of a pre-training checkpoint with both. A file
            with one encoder gives that one.
        name: What the file is called in errors.

    Returns:
        Name of the encoder, as in :func:`split_encoders`, and its tensors.

    Raises:
        ValueError: There are no weights, not the encoder asked for, or the file is
            that of a finished detector or segmentor.
    """
    if encoder not in ENCODERS:
        raise ValueError(f'encoder is "target" or "context", not {encoder!r}')
    state = state_dict_of(checkpoint)
    parts = split_encoders(state)
    if encoder not in parts and 'target' in parts:
        raise ValueError(f'{name} has no {encoder} encoder, only a target encoder')
    heads = sorted({found[1] for key in state if (found := _DENSE_HEAD.match(key))})
    if heads and 'target' not in parts:
        raise ValueError(
            f'{name} is a finished detector or segmentor (it has {", ".join(heads)}): '
            'its backbone was already fine-tuned. Evaluate it with tools/test.py, or '
            'continue it with --resume. To start from its backbone on purpose, write '
            'that to a file first: tools/export_backbone.py CHECKPOINT OUT --encoder '
            'context.'
        )
    if encoder not in parts:
        encoder = next(iter(parts))
    return encoder, parts[encoder]


def whole_model_notes(checkpoint: dict) -> list[str]:
    """Tell whether the encoder is a part of a classifier, which is allowed.

    Args:
        checkpoint: What a checkpoint or exported file holds.

    Returns:
        One line for the log, or none.
    """
    state = state_dict_of(checkpoint)
    head = next((key for key in state if _CLASS_HEAD.match(key)), None)
    if head is None or not is_finished(state) or 'context' not in split_encoders(state):
        return []
    return [
        f'It is the encoder of a whole model with head ({head}), not of a pre-training '
        'checkpoint: it may have been fine-tuned already.'
    ]


def check_finite(state: dict[str, Tensor], name: str | Path) -> None:
    """Refuse weights that no training can start from.

    Args:
        state: Name to tensor, of any type.
        name: What the file is called in the error.

    Raises:
        ValueError: A weight is infinite or not a number; or sparse, quantized or
            without values.
    """
    for key, value in state.items():
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise ValueError(
                f'{name} has "{key}" as a tensor that is sparse, quantized or without '
                'values: save the weights as they were trained.'
            )
        if value.is_floating_point() and value.itemsize == 1:
            value = value.float()  # PyTorch has no `isfinite` for these
        if not torch.isfinite(value).all():
            raise ValueError(
                f'{name} has weights that are not finite ({key}): the training '
                'diverged. Take an earlier checkpoint.'
            )


def check_types(
    state: dict[str, Tensor], name: str | Path, own: dict[str, Tensor] | None = None
) -> None:
    """Refuse weights whose values would change when they are loaded.

    Args:
        state: Name to tensor.
        name: What the file is called in the error.
        own: State of the module that receives them; what it has not is not looked at.
            By default that of a ViT: all is of floating point, but for single counters.

    Raises:
        ValueError: A tensor is of floating point where integers belong, or the other
            way round.
    """
    for key, value in state.items():
        if own is None:
            wanted = value.is_floating_point() or value.ndim > 0
        else:
            wanted = own.get(key, value).is_floating_point()
        if value.is_floating_point() != wanted:
            raise ValueError(
                f'{name} has "{key}" as {value.dtype}, where '
                f'{"floating point" if wanted else "integers"} belong'
                f'{"s" if wanted else ""}: save the weights as they were trained.'
            )


def describe_vit(state: dict[str, Tensor], config_text: Any = '') -> dict[str, Any]:
    """Read the facts of a ViT off its weights and its config.

    Args:
        state: Tensors of one encoder, names as in mmpretrain's VisionTransformer.
        config_text: Text of the config, read as data.

    Returns:
        ``embed_dims``, ``depth``, ``feedforward_channels``, ``patch_size`` and ``grid``
        ([rows, columns]), ``class_token``, ``layer_scale`` (whether it has them),
        ``num_heads``; None where it is unknown; and ``norm_eps``. Empty for another
        architecture.
    """
    kernel = state.get('patch_embed.projection.weight')  # (D, 3, patch, patch)
    position = state.get('pos_embed')  # (1, K + P, D)
    if kernel is None or position is None or (kernel.ndim, position.ndim) != (4, 3):
        return {}
    if 0 in kernel.shape:
        return {}
    config = _part(_part(read_config_text(config_text), 'model'), 'backbone')
    arch = config.get('arch', 'base')
    if isinstance(arch, str):
        arch = (VisionTransformer.arch_zoo | _MOCO_V3_SMALL).get(arch.lower())
    heads = arch.get('num_heads') if config and isinstance(arch, dict) else None
    hidden = state.get('layers.0.ffn.layers.0.0.weight')
    size = config.get('img_size', 224) if config else None
    size = [size, size] if isinstance(size, int) else size
    patch_size = list(kernel.shape[2:])
    grid = None
    if _is_pair(size):
        grid = [side // patch for side, patch in zip(size, patch_size, strict=True)]
    return dict(
        embed_dims=position.shape[-1],
        depth=len({k.split('.')[1] for k in state if k.startswith('layers.')}),
        num_heads=heads if isinstance(heads, int) else None,
        feedforward_channels=hidden.shape[0]
        if hidden is not None and hidden.ndim
        else None,
        patch_size=patch_size,
        grid=grid if _fills(grid, state) else None,
        class_token='cls_token' in state,
        layer_scale='layers.0.attn.gamma1.weight' in state,
        norm_eps=_part(config, 'norm_cfg').get('eps', NORM_EPS),
    )


def check_vit(facts: dict, state: dict[str, Tensor], name: str | Path) -> None:
    """Refuse what is not a ViT that the transfer configs could take.

    Args:
        facts: What :func:`describe_vit` or :func:`facts_of` found.
        state: Name to tensor.
        name: What the file is called in the error.

    Raises:
        ValueError: There are no facts.
    """
    if not facts:
        raise ValueError(
            f"{name} is no ViT with MMPretrain's names (it has "
            f'{", ".join(list(state)[:3])}, ...): take a file in the layout of '
            'MMPretrain, timm, MAE, I-JEPA or DSeq-JEPA, or convert it to one.'
        )


def facts_of(checkpoint: dict, state: dict[str, Tensor]) -> dict[str, Any]:
    """Read the facts of a ViT off its weights and what the file says of them.

    Args:
        checkpoint: What a checkpoint or exported file holds.
        state: Its encoder, as :func:`choose_encoder` returns it.

    Returns:
        As :func:`describe_vit`. Of an exported file and of a folder, number of heads,
        grid and ``norm_eps`` come from their metadata.
    """
    meta = meta_of(checkpoint)
    facts = describe_vit(state, meta.get('cfg'))
    written = _part(meta, 'architecture')
    if facts and written:
        heads, grid = written.get('num_heads'), written.get('grid')
        facts['num_heads'] = heads if isinstance(heads, int) else None
        facts['grid'] = list(grid) if _fills(grid, state) else None
        facts['norm_eps'] = written.get('norm_eps') or facts['norm_eps']
    return facts


def regions_of(meta: dict) -> dict[str, Any]:
    """Read how a pre-training finds its regions.

    Args:
        meta: ``meta`` of a checkpoint, or metadata of an exported file.

    Returns:
        ``num_regions``, ``saliency`` and ``rule`` of its mask generator, as far as the
        file's config sets them.
    """
    generator = _part(
        _part(read_config_text(meta.get('cfg')), 'model'), 'mask_generator'
    )
    names = ('num_regions', 'saliency', 'rule')
    return {name: generator[name] for name in names if generator.get(name) is not None}


def pixels_of(meta: dict) -> dict[str, list[float]]:
    """Read how the images were normalized.

    Args:
        meta: ``meta`` of a checkpoint, or metadata of an exported file.

    Returns:
        ``mean`` and ``std`` of the channels red, green, blue, on the scale of 0 to 255;
        ImageNet's where the file does not say it, as all published ViTs have them.
    """
    config = read_config_text(meta.get('cfg'))
    model = _part(_part(config, 'model'), 'data_preprocessor')
    for known in (_part(meta, 'pixels'), model, _part(config, 'data_preprocessor')):
        mean, std = known.get('mean'), known.get('std')
        if _is_triple(mean) and _is_triple(std):
            return dict(mean=list(mean), std=list(std))
    return dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


def _is_triple(value: Any) -> TypeGuard[Sequence[float]]:
    return (
        isinstance(value, list | tuple)
        and len(value) == 3
        and all(isinstance(number, int | float) for number in value)
    )


def _part(node: dict, key: str) -> dict:
    """A dict in a dict, empty where there is none."""
    found = node.get(key)
    return found if isinstance(found, dict) else {}


def _is_pair(value: Any) -> TypeGuard[Sequence[int]]:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(isinstance(side, int) for side in value)
    )


def _fills(grid: Any, state: dict[str, Tensor]) -> TypeGuard[Sequence[int]]:
    """Whether a grid has as many patches as the position embedding."""
    num_patches = state['pos_embed'].shape[1] - ('cls_token' in state)
    return _is_pair(grid) and min(grid) > 0 and math.prod(grid) == num_patches
