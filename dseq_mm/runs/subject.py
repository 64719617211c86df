"""What a checkpoint is: method, architecture, encoder."""

import math
from dataclasses import dataclass
from pathlib import Path

from ..transfer.checkpoint import load_checkpoint
from ..transfer.contents import (
    ARCHITECTURES,
    ENCODERS,
    Architecture,
    choose_encoder,
    facts_of,
    file_sha256,
    meta_of,
    method_of,
    whole_model_notes,
)
from .paper import other_settings


@dataclass(frozen=True)
class Subject:
    """The checkpoint that is evaluated.

    Args:
        path: Where it is.
        sha256: Of the whole file.
        encoder: 'target', 'context' or 'plain' (the file does not say).
        method: Class name of the pre-training method, None if the file does not say or
            is finished.
        arch: Key of :data:`.contents.ARCHITECTURES`.
        class_token: Whether it has one.
        epoch: Epochs of pre-training, None if the file does not say.
        finished: Whether it is a model with a head, such as a classifier, and not a
            pre-training checkpoint.
        other_settings: How its pre-training differs from the paper's, see
            :func:`.paper.other_settings`.
    """

    path: Path
    sha256: str
    encoder: str
    method: str | None
    arch: str
    class_token: bool
    epoch: int | None
    finished: bool = False
    other_settings: tuple[str, ...] = ()


def read_subject(path: str | Path) -> Subject:
    """Read what a checkpoint is.

    Args:
        path: A pre-training checkpoint or an exported backbone.

    Returns:
        What it is.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read, or no config exists for its architecture.
    """
    path = Path(path).expanduser().absolute()
    checkpoint = load_checkpoint(path)
    encoder, state = choose_encoder(checkpoint, name=str(path))
    meta = meta_of(checkpoint)
    if encoder == 'plain' and meta.get('encoder') in list(ENCODERS):
        encoder = meta['encoder']  # of an exported file
    facts = facts_of(checkpoint, state)
    finished = bool(whole_model_notes(checkpoint))
    method = None if finished else method_of(meta)
    arch = _find_architecture(path, facts, state)
    epoch = (meta.get('source') or meta).get('epoch')
    run = meta.get('run') or meta.get('pretraining')
    return Subject(
        path=path,
        sha256=file_sha256(path),
        encoder=encoder,
        method=method,
        arch=arch,
        class_token='cls_token' in state,
        epoch=epoch,
        finished=finished,
        other_settings=tuple(other_settings(run, epoch, method, arch)),
    )


def _find_architecture(path: Path, facts: dict, state: dict) -> str:
    if not facts:
        raise ValueError(
            f"{path} is no ViT with MMPretrain's names (it has "
            f'{", ".join(list(state)[:3])}, ...). A file that was exported with '
            '--layout timm has to be exported again with --layout mmpretrain.'
        )
    grid = facts['grid']
    if grid is None:
        patches = state['pos_embed'].shape[1] - facts['class_token']
        grid = [math.isqrt(patches), patches // max(math.isqrt(patches), 1)]
    found = (facts['embed_dims'], facts['depth'], facts['patch_size'], list(grid))
    for name, known in ARCHITECTURES.items():
        width, depth, patch, side = known[:4]
        if found == (width, depth, [patch, patch], [side, side]):
            _check_heads(path, facts, known)
            return name
    shape = '{} channels, {} blocks, patches of {} px, a grid of {}'
    raise ValueError(
        f'{path} holds a ViT of {shape.format(*found)} patches, for which there are no '
        'configs. Known are: '
        + '; '.join(
            f'{known.words} ({known.embed_dims} channels, {known.depth} blocks)'
            for known in ARCHITECTURES.values()
        )
        + '. For another one write transfer configs and run tools/train.py with them.'
    )


def _check_heads(path: Path, facts: dict, known: Architecture) -> None:
    """Refuse weights that would load but be computed with other heads."""
    if facts['num_heads'] not in (None, known.num_heads):
        raise ValueError(
            f'{path} holds a ViT with {facts["num_heads"]} heads; the configs for '
            f"{known.words} have {known.num_heads} (mmpretrain's own ViT-S of MoCo v3 "
            'has 12). Pre-train with as many, or write transfer configs with '
            'model.backbone.arch of your own and run tools/train.py with them.'
        )
