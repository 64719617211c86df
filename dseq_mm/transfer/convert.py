"""Writing whole pre-training checkpoints in another layout: encoders and predictor."""

import os
from pathlib import Path

import torch
from torch import Tensor

from ..version import __version__
from .checkpoint import check_whole, load_checkpoint
from .contents import check_finite, file_sha256, meta_of, split_encoders, state_dict_of
from .integrity import replace_durably
from .layouts import read_layout, to_ijepa

WHOLE = ('jepa', 'ijepa')
"""Ours and I-JEPA's layout of a whole checkpoint."""


def convert_whole(source: str | Path, out: str | Path, layout: str) -> list[str]:
    """Write both encoders and the predictor of a checkpoint, as far as it has them.

    What only a resume needs (optimizer, schedules, logs) is left out; start a new
    training from the file.

    Args:
        source: A pre-training checkpoint of ours, of I-JEPA, DSeq-JEPA, DINO or iBOT.
        out: File to write, ``.pth`` or, as I-JEPA calls it, ``.pth.tar``; nothing may
            be there.
        layout: 'jepa' for ours, 'ijepa' for that of I-JEPA's own code.

    Returns:
        What was written, a line for each part.

    Raises:
        FileNotFoundError: There is no such checkpoint or output folder.
        ValueError: The checkpoint cannot be read or is none of a pre-training, weights
            are not finite, or there is something at the output.
    """
    source, out = Path(source).expanduser(), Path(out).expanduser()
    if layout not in WHOLE:
        raise ValueError(f'layout is one of {", ".join(WHOLE)}, not {layout!r}')
    if not out.name.endswith(('.pth', '.pth.tar')):
        raise ValueError(f'{out} has to end in .pth or .pth.tar')
    if out.exists():
        raise ValueError(f'{out} exists and is not overwritten: give another name')
    if not out.parent.is_dir():
        raise FileNotFoundError(f'make the folder {out.parent} first')
    checkpoint = load_checkpoint(source)
    whole = state_dict_of(checkpoint)
    check_finite(whole, source)
    if 'target' not in split_encoders(whole):
        raise ValueError(
            f'{source} is no pre-training checkpoint with a target encoder: of one '
            'encoder take --layout mmpretrain, timm or hf'
        )
    known = read_layout(checkpoint)
    meta = dict(
        format='dseq_mm.pretraining',
        source=dict(name=source.name, sha256=file_sha256(source)),
        found=f'a file {known.name}' if known else 'a checkpoint of ours',
        dseq_mm_version=__version__,
    )
    if layout == 'jepa':
        kept = {
            name: meta_of(checkpoint).get(name) for name in ('cfg', 'epoch', 'iter')
        }
        parts = dict(state_dict=_cloned(whole))
        meta |= {name: value for name, value in kept.items() if value is not None}
    else:
        weights = {k: v for k, v in whole.items() if not k.endswith('.steps')}
        parts = {name: _cloned(part) for name, part in to_ijepa(weights).items()}
    _write(out, dict(parts, meta=meta))
    return [f'{name}: {len(part)} tensors' for name, part in parts.items()]


def _write(out: Path, content: dict) -> None:
    """Write a file, whole or not at all."""
    draft = out.with_name(f'.{out.name}.{os.getpid()}')
    try:
        with draft.open('wb') as file:  # a full disk is an OSError here
            torch.save(content, file)
        check_whole(draft)
        replace_durably(draft, out)
    finally:
        draft.unlink(missing_ok=True)


def _cloned(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in state.items()}
