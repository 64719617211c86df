"""What a checkpoint is: method, architecture, encoder."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ...transfer.checkpoint import load_checkpoint
from ...transfer.export import method_of
from ...transfer.initialize import choose_encoder, describe_vit


class Architecture(NamedTuple):
    """A ViT that configs exist for.

    Attributes:
        embed_dims: Channels.
        depth: Blocks.
        patch_size: Side of a patch in pixels.
        grid: Patches per side at the pre-training size.
        pretraining: Name of its pre-training configs after that of the method.
        words: What it is called in messages and in the table.
    """

    embed_dims: int
    depth: int
    patch_size: int
    grid: int
    pretraining: str
    words: str


ARCHITECTURES = {
    'vitb16': Architecture(768, 12, 16, 14, 'vitb16_600e', 'ViT-B/16 at 224 px'),
    'vitl16': Architecture(1024, 24, 16, 14, 'vitl16_600e', 'ViT-L/16 at 224 px'),
    'vith16-448': Architecture(
        1280, 32, 16, 28, 'vith16-448_300e', 'ViT-H/16 at 448 px'
    ),
    'digits': Architecture(
        96, 4, 4, 6, 'digitscenes_20e', 'the ViT of DigitScenes at 24 px'
    ),
}


@dataclass(frozen=True)
class Subject:
    """The checkpoint that is evaluated.

    Args:
        path: Where it is.
        sha256: Of the whole file.
        encoder: 'target', 'context' or 'plain' (the file does not say).
        method: Class name of the pre-training method, None if the file does not say.
        arch: Key of :data:`ARCHITECTURES`.
        class_token: Whether it has one.
        epoch: Epochs of pre-training, None if the file does not say.
    """

    path: Path
    sha256: str
    encoder: str
    method: str | None
    arch: str
    class_token: bool
    epoch: int | None


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
    meta = checkpoint.get('meta') or {}
    facts = describe_vit(state, meta.get('cfg') or '')
    if facts:  # the grid of an exported file stands in its metadata alone
        facts['grid'] = (meta.get('architecture') or facts).get('grid')
    return Subject(
        path=path,
        sha256=file_sha256(path),
        encoder=meta.get('encoder', encoder) if encoder == 'plain' else encoder,
        method=method_of(meta),
        arch=_find_architecture(path, facts, state),
        class_token='cls_token' in state,
        epoch=(meta.get('source') or meta).get('epoch'),
    )


def file_sha256(path: Path) -> str:
    """Compute the checksum of a file.

    Args:
        path: The file.

    Returns:
        SHA-256 in hexadecimal digits.
    """
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


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
