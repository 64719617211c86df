"""Loading a backbone so that every parameter is known to come from the file.

Shape legend: ``h, w`` the patch grid of the file, ``H, W`` that of the module, ``K``
extra tokens (0 or 1), ``D`` channels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule, update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from mmpretrain.models.utils import resize_pos_embed
from torch import Tensor, nn

from .checkpoint import load_checkpoint
from .contents import (
    ENCODERS,
    check_finite,
    check_types,
    choose_encoder,
    describe_vit,
    facts_of,
    split_encoders,
    state_dict_of,
    whole_model_notes,
)

__all__ = [
    'ENCODERS',
    'KeyReport',
    'StrictPretrained',
    'choose_encoder',
    'compare_keys',
    'describe_vit',
    'load_backbone',
    'split_encoders',
    'state_dict_of',
    'strict_entry',
]
NO_CHECKPOINT = (
    'no checkpoint was given for the backbone to start from. Give it by '
    '--checkpoint PATH with the tools/train.py of dseq_mm, or by --cfg-options '
    'model.backbone.init_cfg.checkpoint=PATH with that of MMDetection, MMSegmentation '
    'or MMPretrain. For random weights: --from-scratch, or --cfg-options '
    'model.backbone.init_cfg=None.'
)


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


def _square(num_patches: int) -> list[int] | None:
    side = math.isqrt(num_patches)
    return [side, side] if side * side == num_patches else None


def _fit_position(
    module: nn.Module, state: dict[str, Tensor], grid: Sequence[int] | None
) -> tuple[Tensor, bool] | None:
    """The file's position embedding on the module's grid, and whether it was resized.

    None if there is none that could be.
    """
    position, own = state.get('pos_embed'), getattr(module, 'pos_embed', None)
    if position is None or own is None or {position.ndim, own.ndim} != {3}:
        return None
    if position.shape[0] != 1:
        return None  # no position embedding: the comparison of shapes reports it
    if position.shape[-1] != own.shape[-1]:
        return None  # another width: the comparison of shapes reports it
    extra = cast(int, module.num_extra_tokens)
    surplus = sum(name in state for name in ('cls_token', 'dist_token')) - extra
    if surplus < 0:
        return None  # the class token is missing, and reported
    # drop extra tokens that the module has not: (1, K + h * w, D)
    position = position[:, surplus:]
    if position.shape[1] <= extra:
        return None  # nor is one without a patch
    if grid is None and position.shape == own.shape:
        return position, False
    grid = grid or _square(position.shape[1] - extra)
    if grid is None or math.prod(grid) != position.shape[1] - extra:
        raise ValueError(
            f'the position embedding has {position.shape[1] - extra} patches on an '
            f'unknown grid ({grid}). Give the grid it was trained on: '
            'grid=(rows, columns).'
        )
    target = tuple(cast(Sequence[int], module.patch_resolution))
    resized = resize_pos_embed(
        position,
        tuple(grid),
        target,
        mode=module.interpolate_mode,
        num_extra_tokens=extra,
    )  # (1, K + H * W, D)
    return resized, tuple(grid) != target


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
    """Raise unless the report is one of a full match."""
    parts = {key.split('.')[0] for key in (*report.matched, *report.missing)}
    missing = [key for key in report.missing if key.split('.')[0] not in allow_missing]
    # a part the module has not at all (its final norm, say) may stay unused, but
    # more keys of a part that it has (more layers, a bias) is another architecture
    surplus = [key for key in report.unexpected if key.split('.')[0] in parts]
    if not (missing or surplus or report.mismatched):
        return
    if not report.matched and not report.mismatched:
        hint = (
            'The file is of another kind of network, or its names carry another prefix '
            'than "backbone.": give a backbone like this one.'
        )
    elif missing == ['cls_token'] and len(report.mismatched) <= 1:  # and pos_embed
        hint = (
            'The file has no class token: set model.backbone.with_cls_token=False, and '
            "another out_type than 'cls_token'."
        )
    elif any('.gamma1.' in key for key in report.unexpected):
        hint = (
            'The file has layer scales: set model.backbone.layer_scale_init_value=1e-5.'
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
    """Load a backbone and fails, unchanged, unless every parameter is matched.

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
            has weights that are not finite or not of floating point, or a parameter of
            the module is missing or has another shape, or the file has more of a part
            than the module, or another number of heads.
    """
    name = 'the state dict' if isinstance(source, dict) else str(source)
    checkpoint = source if isinstance(source, dict) else load_checkpoint(source)
    encoder, state = choose_encoder(checkpoint, encoder, name)
    check_finite(state, name)
    check_types(state, name, module.state_dict())
    for note in whole_model_notes(checkpoint):
        print_log(f'{name}: {note}', logger='current')
    facts = facts_of(checkpoint, state)
    grid = grid or facts.get('grid')
    fitted = _fit_position(module, state, grid)
    resized: tuple[str, ...] = ()
    if fitted is not None:
        state = {**state, 'pos_embed': fitted[0]}
        resized = ('pos_embed',) if fitted[1] else ()
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


def strict_entry(init_cfg: Any) -> dict | None:
    """Find the ``StrictPretrained`` of an ``init_cfg``.

    Args:
        init_cfg: An initializer, a list of them, or None.

    Returns:
        Its entry, whatever scope stands before the name; None if there is none.
    """
    for entry in init_cfg if isinstance(init_cfg, list | tuple) else [init_cfg]:
        kind = entry.get('type') if isinstance(entry, dict) else None
        name = kind if isinstance(kind, str) else getattr(kind, '__name__', '')
        if name.rpartition('.')[2] == 'StrictPretrained':
            return entry
    return None


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
        """Load the weights and keeps later initializers off them.

        Args:
            module: The backbone.

        Raises:
            FileNotFoundError: As :func:`load_backbone`.
            ValueError: As :func:`load_backbone`, or it is not the last initializer.
        """
        config = getattr(module, 'init_cfg', None)
        if isinstance(config, list) and strict_entry(config[-1:]) is None:
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
            config = dict(type='Pretrained', checkpoint=str(self.checkpoint))
            cast(BaseModule, module).init_cfg = config
        if hasattr(module, '_params_init_info'):
            update_init_info(module, f'StrictPretrained: load from {self.checkpoint}')
