"""Loading a backbone so that every parameter is known to come from the file.

Shape legend: ``h, w`` the patch grid of the file, ``H, W`` that of the module, ``K``
extra tokens (0 or 1), ``D`` channels.
"""

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule, update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from mmpretrain.models import VisionTransformer
from mmpretrain.models.utils import resize_pos_embed, to_2tuple
from torch import Tensor, nn

from .checkpoint import load_checkpoint, read_config_text

ENCODERS = dict(target='target_encoder.module.', context='backbone.')
NO_CHECKPOINT = (
    'no checkpoint was given for the backbone to start from. Give it by '
    '--checkpoint PATH with the tools/train.py of dseq_mm, or by --cfg-options '
    'model.backbone.init_cfg.checkpoint=PATH with that of MMDetection, MMSegmentation '
    'or MMPretrain. For random weights: --from-scratch, or --cfg-options '
    'model.backbone.init_cfg=None.'
)
_DENSE_HEAD = re.compile(r'(\w+_head|roi_heads)\.')  # not the `head.` of classifiers


@dataclass(frozen=True)
class KeyReport:
    """Which keys of a file went into a module.

    Args:
        encoder: Part of the file: 'target', 'context' (keys ``backbone.*``), 'plain'
            (keys without a prefix) or 'whole' (a whole algorithm).
        matched: Keys that were loaded.
        missing: Keys of the module that the file has not.
        unexpected: Keys of the file that the module has not.
        mismatched: Keys with both shapes, where they differ.
        resized: Position embeddings that were resized to the module's grid; they
            are among ``matched``.
    """

    encoder: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]
    resized: tuple[str, ...]

    def __str__(self) -> str:
        part = 'algorithm' if self.encoder == 'whole' else f'{self.encoder} encoder'
        lines = [f'keys of the {part}:']
        for name in ('matched', 'resized', 'missing', 'unexpected', 'mismatched'):
            keys = getattr(self, name)
            shown = '' if name == 'matched' else ', '.join(keys[:4])
            more = ', ...' if shown and len(keys) > 4 else ''
            lines.append(f'  {name} {len(keys)}' + (shown and f': {shown}{more}'))
        return '\n'.join(lines)


def state_dict_of(checkpoint: dict) -> dict[str, Tensor]:
    """Finds the tensors of a checkpoint.

    Args:
        checkpoint: With the key ``state_dict``, or a state dict itself.

    Returns:
        Name to tensor, without the ``module.`` of a distributed wrapper.

    Raises:
        ValueError: There are none.
    """
    state = checkpoint.get('state_dict', checkpoint)
    state = {k: v for k, v in state.items() if isinstance(v, Tensor)}
    if not state:
        raise ValueError(
            'the checkpoint has no weights: neither a "state_dict" nor named tensors. '
            f'It has: {", ".join(map(str, checkpoint)) or "nothing"}.'
        )
    if all(key.startswith('module.') for key in state):
        state = {key[len('module.') :]: value for key, value in state.items()}
    return state


def split_encoders(state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Finds the encoders in a state dict.

    Args:
        state: Name to tensor, as :func:`state_dict_of` returns it.

    Returns:
        'target' and 'context' (the prefix ``backbone.``), where they exist, to their
        tensors without prefix; 'plain' where the names have no such prefix.
    """
    found = {
        encoder: {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
        for encoder, prefix in ENCODERS.items()
    }
    return {name: part for name, part in found.items() if part} or dict(plain=state)


def choose_encoder(
    checkpoint: dict, encoder: str = 'target', name: str = 'the state dict'
) -> tuple[str, dict[str, Tensor]]:
    """Finds the encoder that a backbone starts from.

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


def describe_vit(state: dict[str, Tensor], config_text: str = '') -> dict[str, Any]:
    """Reads the facts of a ViT off its weights and its config.

    Args:
        state: Tensors of one encoder, names as in mmpretrain's VisionTransformer.
        config_text: Text of the config, read as data.

    Returns:
        ``embed_dims``, ``depth``, ``feedforward_channels``, ``patch_size`` and ``grid``
        ([rows, columns]), ``class_token``, ``num_heads``; None where it is unknown.
        Empty for another architecture.
    """
    if not {'patch_embed.projection.weight', 'pos_embed'} <= state.keys():
        return {}
    config = read_config_text(config_text).get('model') or {}
    config = config.get('backbone') or {}
    arch = config.get('arch', 'base')
    if isinstance(arch, str):
        arch = VisionTransformer.arch_zoo.get(arch.lower())
    patch_size = list(state['patch_embed.projection.weight'].shape[2:])
    hidden = state.get('layers.0.ffn.layers.0.0.weight')
    num_patches = state['pos_embed'].shape[1] - ('cls_token' in state)
    size = to_2tuple(config.get('img_size', 224)) if config else (0, 0)
    grid = [side // patch for side, patch in zip(size, patch_size, strict=True)]
    return dict(
        embed_dims=state['pos_embed'].shape[-1],
        depth=len({k.split('.')[1] for k in state if k.startswith('layers.')}),
        num_heads=arch['num_heads'] if config and arch else None,
        feedforward_channels=None if hidden is None else hidden.shape[0],
        patch_size=patch_size,
        grid=grid if math.prod(grid) == num_patches else None,
        class_token='cls_token' in state,
    )


def _square(num_patches: int) -> list[int] | None:
    side = math.isqrt(num_patches)
    return [side, side] if side * side == num_patches else None


def _fit_position(
    module: nn.Module, state: dict[str, Tensor], grid: list[int] | None
) -> Tensor | None:
    """The file's position embedding on the module's grid, None if there is none."""
    position, own = state.get('pos_embed'), getattr(module, 'pos_embed', None)
    if position is None or own is None or {position.ndim, own.ndim} != {3}:
        return None
    if position.shape[-1] != own.shape[-1]:
        return None  # another width: the comparison of shapes reports it
    extra = module.num_extra_tokens
    surplus = sum(name in state for name in ('cls_token', 'dist_token')) - extra
    if surplus < 0:
        return None  # the class token is missing, and reported
    # drop extra tokens that the module has not: (1, K + h * w, D)
    position = position[:, surplus:]
    if grid is None and position.shape == own.shape:
        return position
    grid = grid or _square(position.shape[1] - extra)
    if grid is None or math.prod(grid) != position.shape[1] - extra:
        raise ValueError(
            f'the position embedding has {position.shape[1] - extra} patches on an '
            f'unknown grid ({grid}). Give the grid it was trained on: '
            'grid=(rows, columns).'
        )
    return resize_pos_embed(
        position,
        tuple(grid),
        tuple(module.patch_resolution),
        mode=module.interpolate_mode,
        num_extra_tokens=extra,
    )  # (1, K + H * W, D)


def compare_keys(
    own: dict[str, Tensor],
    state: dict[str, Tensor],
    encoder: str,
    resized: tuple[str, ...] = (),
) -> KeyReport:
    """Compare keys and shapes of a file with those of a module.

    Args:
        own: State of the module.
        state: State in the file.
        encoder: What the file's part is called in the report.
        resized: Keys that were resized to fit.

    Returns:
        The report.
    """
    shared = [key for key in own if key in state]
    differs = [key for key in shared if own[key].shape != state[key].shape]
    return KeyReport(
        encoder=encoder,
        matched=tuple(key for key in shared if key not in differs),
        missing=tuple(key for key in own if key not in state),
        unexpected=tuple(key for key in state if key not in own),
        mismatched=tuple(
            f'{key} {tuple(state[key].shape)} in the file, {tuple(own[key].shape)} '
            'in the model'
            for key in differs
        ),
        resized=resized,
    )


def _check(report: KeyReport, source: str, allow_missing: tuple[str, ...]) -> None:
    """Raises unless the report is one of a full match."""
    parts = {key.split('.')[0] for key in (*report.matched, *report.missing)}
    missing = [key for key in report.missing if key.split('.')[0] not in allow_missing]
    # a part the module has not at all (its final norm, say) may stay unused, but
    # more keys of a part that it has (more layers, a bias) is another architecture
    surplus = [key for key in report.unexpected if key.split('.')[0] in parts]
    if not (missing or surplus or report.mismatched):
        return
    first = next(iter(report.unexpected), '')
    if first.startswith(('blocks.', 'patch_embed.proj.', 'norm.')):
        hint = (
            "These are timm's names: export the backbone again from the pre-training "
            'checkpoint with --layout mmpretrain.'
        )
    elif not report.matched and not report.mismatched:
        hint = (
            'The file is of another kind of network, or its names carry another prefix '
            'than "backbone.": give a backbone like this one.'
        )
    elif missing == ['cls_token'] and len(report.mismatched) <= 1:  # and pos_embed
        hint = (
            'The file has no class token: set model.backbone.with_cls_token=False, and '
            "another out_type than 'cls_token'."
        )
    else:
        hint = (
            'Set arch, patch_size, with_cls_token, out_type and final_norm of the '
            'backbone as in the pre-training config. Parts that shall start anew are '
            "named by allow_missing, for example ['ln2']."
        )
    raise ValueError(f'{source} does not fit the backbone; {report}\n{hint}')


def load_backbone(
    module: nn.Module,
    source: str | Path | dict,
    encoder: str = 'target',
    grid: tuple[int, int] | None = None,
    allow_missing: tuple[str, ...] = (),
) -> KeyReport:
    """Loads a backbone and fails, unchanged, unless every parameter is matched.

    Position embeddings of another grid are resized. A file with one encoder (an
    exported one, a classifier, an MAE) gives that one, whatever ``encoder`` says.

    Args:
        module: The backbone that receives the weights.
        source: Path of a checkpoint or exported file, or what such a file holds.
        encoder: 'target' or 'context', of a pre-training checkpoint with both.
        grid: Rows and columns of the file's position embedding; needed only where
            the file does not say it and it is not square.
        allow_missing: Parts of the module (first component of their keys) that may
            stay as they are, such as ``'ln2'`` of ``out_type='avg_featmap'``.

    Returns:
        What was loaded.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file cannot be read or is a finished detector or segmentor,
            or a parameter of the module is missing or has another shape, or the file
            has more of a part than the module, or another number of heads.
    """
    name = 'the state dict' if isinstance(source, dict) else str(source)
    checkpoint = source if isinstance(source, dict) else load_checkpoint(source)
    encoder, state = choose_encoder(checkpoint, encoder, name)
    meta = checkpoint.get('meta') or {}
    facts = meta.get('architecture') or describe_vit(state, meta.get('cfg', ''))
    grid = grid or facts.get('grid')
    position = _fit_position(module, state, grid)
    resized = ()
    if position is not None:
        if list(grid or module.patch_resolution) != list(module.patch_resolution):
            resized = ('pos_embed',)
        state = {**state, 'pos_embed': position}
    report = compare_keys(module.state_dict(), state, encoder, resized)
    # no shape tells the number of heads
    own = getattr(module, 'arch_settings', {}).get('num_heads')
    if (heads := facts.get('num_heads')) and own and heads != own:
        differs = f'num_heads {heads} in the file, {own} in the model'
        report = replace(report, mismatched=(*report.mismatched, differs))
    _check(report, name, tuple(allow_missing))
    with torch.no_grad():
        module.load_state_dict({k: state[k] for k in report.matched}, strict=False)
    return report


@WEIGHT_INITIALIZERS.register_module()
class StrictPretrained:
    """Initializer that loads a backbone or fails: ``init_cfg`` of any backbone.

    ``init_cfg=dict(type='StrictPretrained', checkpoint='backbone.pth')`` works in
    mmpretrain, mmdet and mmseg. In a list of initializers it comes last.

    Args:
        checkpoint: Path of a checkpoint or exported backbone. None, as the transfer
            configs have it, stands for "to be given".
        encoder: As for :func:`load_backbone`.
        grid: As for :func:`load_backbone`.
        allow_missing: As for :func:`load_backbone`.

    Raises:
        ValueError: No checkpoint was given.
    """

    def __init__(
        self,
        checkpoint: str | None = None,
        encoder: str = 'target',
        grid: tuple[int, int] | None = None,
        allow_missing: tuple[str, ...] = (),
    ) -> None:
        if checkpoint is None:
            raise ValueError(NO_CHECKPOINT)
        self.checkpoint, self.encoder = checkpoint, encoder
        self.grid, self.allow_missing = grid, allow_missing

    def __call__(self, module: nn.Module) -> None:
        """Loads the weights and keeps later initializers off them.

        Args:
            module: The backbone.

        Raises:
            FileNotFoundError: As :func:`load_backbone`.
            ValueError: As :func:`load_backbone`, or it is not the last initializer.
        """
        config = getattr(module, 'init_cfg', None)
        if isinstance(config, list) and config[-1].get('type') != type(self).__name__:
            raise ValueError(
                'StrictPretrained has to be the last of the init_cfg list; what '
                'follows it would overwrite the loaded weights.'
            )
        report = load_backbone(
            module, self.checkpoint, self.encoder, self.grid, self.allow_missing
        )
        print_log(f'{self.checkpoint}: {report}', logger='current')
        # The hosts initialize the children, then what is their own, unless the type
        # is 'Pretrained'; so the children count as done, and init_cfg as that type.
        loaded = {key.split('.')[0] for key in report.matched}
        for name, child in module.named_children():
            for part in child.modules() if name in loaded else ():
                if isinstance(part, BaseModule):
                    part.is_init = True
        if config:
            module.init_cfg = dict(type='Pretrained', checkpoint=str(self.checkpoint))
        if hasattr(module, '_params_init_info'):
            update_init_info(module, f'StrictPretrained: load from {self.checkpoint}')
