"""Writing the backbone of a pre-training checkpoint as a file of its own."""

import json
import math
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..version import __version__
from .architectures import HEADS
from .checkpoint import DIGEST_KEY, METADATA_KEY, load_checkpoint, read_meta
from .contents import (
    check_finite,
    check_types,
    check_vit,
    facts_of,
    file_sha256,
    is_finished,
    meta_of,
    method_of,
    pixels_of,
    split_encoders,
    state_dict_of,
)
from .hugging_face import to_hugging_face, write_folder
from .integrity import digest, replace_durably
from .names import TIMM, rename

FORMAT = 'dseq_mm.backbone'
LAYOUTS = ('mmpretrain', 'mmdet', 'mmseg', 'timm', 'hf')


def to_timm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of mmpretrain's VisionTransformer to those of timm's.

    Args:
        state: Name to tensor in mmpretrain's names.

    Returns:
        The same tensors under timm's names.

    Raises:
        ValueError: A key has no counterpart in a plain timm ViT.
    """
    renamed = {}
    for key, value in state.items():
        name = rename(key, TIMM)
        if name is None:
            raise ValueError(
                f'"{key}" has no counterpart in timm\'s VisionTransformer. Export '
                'with --layout mmpretrain instead.'
            )
        renamed[name] = value
    return renamed


def export_backbone(
    checkpoint: str | Path,
    out: str | Path,
    encoder: str = 'target',
    layout: str = 'mmpretrain',
) -> dict:
    """Write one encoder of a pre-training checkpoint, and nothing else of it.

    The file is written beside its place, read again, compared and only then moved
    there. Of what is there already, only an earlier export is replaced.

    Args:
        checkpoint: Path of the pre-training checkpoint.
        out: Path to write, ending in ``.pth`` or ``.safetensors``; of the layout 'hf' a
            folder.
        encoder: 'target' (the EMA encoder) or 'context'. A pre-training checkpoint
            without target encoder, such as MAE's, gives the encoder that it has, and
            so does a file with one encoder in whatever layout.
        layout: Whose key names: 'mmpretrain', 'mmdet' and 'mmseg' share them, 'timm'
            and 'hf' (transformers) have their own.

    Returns:
        The metadata that the file carries.

    Raises:
        FileNotFoundError: There is no such checkpoint or output folder.
        ValueError: The checkpoint cannot be read, has not that encoder, the encoder
            is no ViT, lacks weights or has some that are not finite or not of floating
            point, or an argument is not one of those above; or ``out`` is a file, the
            checkpoint itself or another, that is no earlier export.
    """
    checkpoint, out = Path(checkpoint).expanduser(), Path(out).expanduser()
    _check_layout(out, layout)
    _check_place(checkpoint, out)
    source = load_checkpoint(checkpoint)
    whole = state_dict_of(source)
    encoders = split_encoders(whole)
    if encoder == 'target' and [*encoders] == ['context'] and not is_finished(whole):
        encoder = 'context'
    if [*encoders] == ['plain']:
        encoder = 'plain'
    if encoder not in encoders:
        raise ValueError(
            f'{checkpoint} has no {encoder} encoder; it has: {", ".join(encoders)}. '
            'Choose one by --encoder.'
        )
    state = encoders[encoder]
    check_finite(state, checkpoint)
    check_types(state, checkpoint)
    facts = facts_of(source, state)
    check_vit(facts, state, checkpoint)
    _check_complete(state, encoders, checkpoint)
    if layout == 'timm':
        state = to_timm(state)
    elif layout == 'hf':
        complete_facts(facts, state, checkpoint)
        state = to_hugging_face(state, facts)
    meta = _metadata(checkpoint, meta_of(source), facts, encoder, layout)
    state = {key: value.detach().clone().contiguous() for key, value in state.items()}
    _write_verified(out, state, meta)
    return meta


def _check_layout(out: Path, layout: str) -> None:
    """Refuse a layout that there is none of, or a name that is none for it."""
    if layout not in LAYOUTS:
        raise ValueError(f'layout is one of {", ".join(LAYOUTS)}, not {layout!r}')
    suffixes = [name for name in _WRITERS if name]
    if layout != 'hf' and out.suffix not in suffixes:
        raise ValueError(f'{out} has to end in {" or ".join(suffixes)}')
    if layout == 'hf' and out.suffix in suffixes:
        raise ValueError(
            f'{out}: the layout hf is a folder, give it a name without {out.suffix}'
        )
    if not out.parent.is_dir():
        raise FileNotFoundError(f'make the folder {out.parent} first')


def _check_place(checkpoint: Path, out: Path) -> None:
    """Refuse to write over what cannot be exported again."""
    if not os.path.lexists(out):
        return
    if out.exists() and checkpoint.exists() and out.samefile(checkpoint):
        raise ValueError(
            f'{out} is the checkpoint itself, which would be lost: give another name '
            'for the file to write.'
        )
    try:
        ours = read_meta(out).get('format') == FORMAT
    except (FileNotFoundError, ValueError):
        ours = False
    if not ours:
        raise ValueError(
            f'{out} exists and is no earlier export, so it is not overwritten: give '
            'another name for the file to write, or remove it first.'
        )


def _check_complete(
    state: dict[str, Tensor], encoders: dict[str, dict[str, Tensor]], name: Path
) -> None:
    """Refuse an encoder that lacks what its other blocks or its twin have."""
    wanted = {key for encoder in encoders.values() for key in encoder}
    blocks = [found for key in state if (found := re.match(r'layers\.(\d+)\.', key))]
    depth = 1 + max((int(found[1]) for found in blocks), default=-1)
    parts = {found.string[found.end() :] for found in blocks}
    wanted |= {f'layers.{i}.{part}' for i in range(depth) for part in parts}
    if missing := sorted(wanted - state.keys()):
        raise ValueError(
            f'{name} lacks {len(missing)} tensors of the encoder ({missing[0]}): take '
            'another checkpoint.'
        )


def loading_snippet(out: str | Path, meta: dict) -> str:
    """Tell how to load an exported file.

    Args:
        out: Its path.
        meta: Its metadata.

    Returns:
        Lines to paste into a config, or into a script for timm.
    """
    facts = meta['architecture']
    grid, patch_size = facts.get('grid'), facts.get('patch_size')
    size = grid and tuple(g * p for g, p in zip(grid, patch_size, strict=True))
    patch_size = patch_size and patch_size[0]
    token = facts.get('class_token')
    if meta['layout'] == 'hf':
        return f"model = transformers.AutoModel.from_pretrained('{out}')"
    scale = '{}=1e-5, ' if facts.get('layer_scale') else ''
    if meta['layout'] != 'timm':
        arch = {
            to: facts.get(name)
            for to, name in (
                ('embed_dims', 'embed_dims'),
                ('num_layers', 'depth'),
                ('num_heads', 'num_heads'),
                ('feedforward_channels', 'feedforward_channels'),
            )
        }
        return (
            "custom_imports = dict(imports=['dseq_mm'])\n"
            "backbone = dict(\n    type='mmpretrain.VisionTransformer',\n"
            f'    arch={arch},\n    img_size={size}, patch_size={patch_size}, '
            f'with_cls_token={token},\n    '
            f"{scale.format('layer_scale_init_value')}out_type='featmap',\n"
            f"    init_cfg=dict(type='StrictPretrained', checkpoint='{out}'))\n\n"
            '# mmpretrain.get_model runs no init_cfg: after `import dseq_mm`, give it\n'
            f"# pretrained='{out}'"
        )
    load = (
        f"torch.load('{out}', weights_only=True)['state_dict']"
        if Path(out).suffix == '.pth'
        else f"safetensors.torch.load_file('{out}')"
    )
    width, hidden = facts.get('embed_dims'), facts.get('feedforward_channels')
    return (
        'model = timm.models.VisionTransformer(\n'
        f'    img_size={size}, patch_size={patch_size}, embed_dim={width},\n'
        f'    depth={facts.get("depth")}, '
        f'num_heads={facts.get("num_heads")}, '
        f'mlp_ratio={hidden / width if hidden else None},\n    class_token={token}, '
        f"{scale.format('init_values')}global_pool='avg', fc_norm=False, "
        'num_classes=0)\n'
        f'model.load_state_dict({load})'
    )


def _metadata(
    checkpoint: Path, meta: dict, facts: dict, encoder: str, layout: str
) -> dict:
    """What the exported file says about itself; plain types only."""
    counts = {key: meta.get(key) for key in ('epoch', 'iter')}
    if encoder == 'plain':  # of an earlier export
        encoder = str(meta.get('encoder') or encoder)
    licence = meta.get('license')
    return dict(
        description=f'{encoder} encoder of a pre-training checkpoint, backbone alone',
        format=FORMAT,
        format_version=2,  # 1 had no checksum in .safetensors files
        encoder=encoder,
        layout=layout,
        method=method_of(meta),
        architecture=facts,
        pixels=pixels_of(meta),
        pretraining=_pretraining(meta.get('run') or meta.get('pretraining')),
        license=licence if isinstance(licence, str) else None,
        source=dict(
            name=checkpoint.name,
            sha256=file_sha256(checkpoint),
            **{k: n if isinstance(n, int) else None for k, n in counts.items()},
        ),
        dseq_mm_version=__version__,
    )


def complete_facts(facts: dict, state: dict[str, Tensor], name: str | Path) -> None:
    """Fill in what a network cannot be built without, in place.

    Args:
        facts: Of the encoder. Where the file does not tell the number of heads, it is
            that of the published ViTs of this width; the grid of the position embedding
            is square.
        state: Its tensors.
        name: What the file is called in the error.

    Raises:
        ValueError: Neither is known.
    """
    facts['num_heads'] = facts['num_heads'] or HEADS.get(facts['embed_dims'])
    patches = state['pos_embed'].shape[1] - facts['class_token']
    side = math.isqrt(patches)
    if facts['grid'] is None and side * side == patches:
        facts['grid'] = [side, side]
    if facts['num_heads'] is None or facts['grid'] is None:
        what = 'number of attention heads' if facts['grid'] else 'grid of patches'
        raise ValueError(
            f'{name} does not tell the {what}, and it cannot be concluded from '
            f'{facts["embed_dims"]} channels and {patches} patches: export it from the '
            'pre-training checkpoint, whose config tells it'
        )


def _pretraining(run: Any) -> dict | None:
    """What the record of a pre-training says of its settings."""
    if not isinstance(run, dict):
        return None
    names = ('settings', 'global_batch', 'max_epochs')
    files = run.get('files')
    images = dict(number=files.get('number') if isinstance(files, dict) else None)
    return {name: run.get(name) for name in names} | dict(files=images)


def _write_safetensors(path: Path, state: dict, meta: dict) -> None:
    from safetensors.torch import save_file

    total = digest(state, meta)
    ours = json.dumps({**meta, DIGEST_KEY: total})
    metadata = {'format': 'pt', METADATA_KEY: ours, DIGEST_KEY: total}
    save_file(state, str(path), metadata)


def _write_torch(path: Path, state: dict, meta: dict) -> None:
    with path.open('wb') as file:  # a full disk is an OSError here, unlike in PyTorch
        torch.save(dict(state_dict=state, meta=meta), file)


_WRITERS: dict[str, Callable] = {
    '.pth': _write_torch,
    '.safetensors': _write_safetensors,
    '': write_folder,
}


def _write_verified(out: Path, state: dict[str, Tensor], meta: dict) -> None:
    """Write, reads again, compares and moves the file to its place."""
    draft = out.with_name(f'.{out.stem}.{os.getpid()}{out.suffix}')
    folder = meta['layout'] == 'hf'
    try:
        _WRITERS['' if folder else out.suffix](draft, state, meta)
        written = load_checkpoint(draft)
        tensors = written['state_dict']
        same = tensors.keys() == state.keys() and written['meta'] == meta
        if not same or not all(torch.equal(tensors[k], state[k]) for k in state):
            raise OSError(f'{out} was not written correctly; is the disk in order?')
        if folder and out.is_dir():  # an earlier export
            shutil.rmtree(out)
        replace_durably(draft, out)
    finally:
        if folder:
            shutil.rmtree(draft, ignore_errors=True)
        else:
            draft.unlink(missing_ok=True)
