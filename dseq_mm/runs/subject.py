"""What a checkpoint is: method, architecture, encoder."""

import math
import re
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from ..engine.record import Difference, compare_settings, settings_of
from ..tables.paper import PREFIXES
from ..transfer.architectures import ARCHITECTURES, Architecture
from ..transfer.checkpoint import load_checkpoint
from ..transfer.contents import (
    ENCODERS,
    choose_encoder,
    facts_of,
    file_sha256,
    meta_of,
    method_of,
    whole_model_notes,
)
from ..utils.configs import resolve_config

# what a resume may change, but a pre-training began with
_START = re.compile(r'model\.(warm_start|.*init_cfg\.checkpoint)')
_IMAGES = 1_281_167  # of ImageNet-1K
# how fast it is computed, and what has been compared as batch and epochs
_HARMLESS = re.compile(
    r'(auto_scale_lr\.|optim_wrapper\.(type|dtype|optimizer\.fused)).*'
)


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
            :func:`other_settings`.
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


def other_settings(
    run: dict | None, epoch: int | None, method: str | None, arch: str
) -> list[str]:
    """Compare a pre-training with that of the paper, as our configs have it.

    Args:
        run: Its record, see :func:`~dseq_mm.engine.record.make_record`; None if the
            checkpoint has none.
        epoch: Epochs that it went.
        method: Class name of the method.
        arch: Key of :data:`~dseq_mm.transfer.contents.ARCHITECTURES`.

    Returns:
        What differs; also that it cannot be compared.
    """
    run = run if isinstance(run, dict) else {}
    settings, files = run.get('settings'), run.get('files')
    if not isinstance(settings, dict):
        return ['the file does not say with which settings it was pre-trained']
    try:
        name = f'{PREFIXES.get(str(method), method)}_{ARCHITECTURES[arch].pretraining}'
        cfg = Config.fromfile(resolve_config(name))
    except ValueError:
        return ['there is no config with the settings of the paper to compare with']
    wanted = dict(
        epochs=cfg.train_cfg.max_epochs,
        batch=cfg.auto_scale_lr.base_batch_size,
        images=_IMAGES,
    )
    found = dict(
        epochs=epoch,
        batch=run.get('global_batch'),
        images=files.get('number') if isinstance(files, dict) else None,
    )
    if run.get('max_epochs') != wanted['epochs']:  # the schedules follow them
        found['epochs'] = run.get('max_epochs')
    told = [
        f'pre-trained with {found[key] or "unknown"} {key} instead of {wanted[key]}'
        for key in wanted
        if found[key] != wanted[key]
    ]
    told += [
        f'pre-trained from the weights of {value}'
        for name, value in settings.items()
        if _START.fullmatch(name) and value
    ]
    pairs = sum(compare_settings(settings, settings_of(cfg)), [])
    kept = [pair for pair in pairs if not _HARMLESS.fullmatch(pair.name)]
    more = [f'and {len(kept) - 3} other settings'] if len(kept) > 3 else []
    return told + [_told(pair) for pair in kept[:3]] + more


def _told(pair: Difference) -> str:
    before, now = ('not set' if v is None else repr(v) for v in pair[1:])
    return f'pre-trained with {pair.name} {before} instead of {now}'
