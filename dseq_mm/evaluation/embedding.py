"""Features of folders of images, from an encoder's file alone.

Shape legend: ``n`` images, ``P`` patches, ``D`` channels.
"""

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import Compose
from mmengine.device import get_device
from mmengine.dist import collect_results_cpu, get_rank, get_world_size
from mmpretrain.registry import TRANSFORMS
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from ..data.own_images import OwnImages, is_image
from ..utils.command import explain
from ..utils.files import write_text
from .encoder_file import Encoder, Features, load_encoder

KINDS = ('pooled', 'last4', 'class', 'patches')
"""What of :class:`.Features` is kept; the class token's is 'class'."""
SUFFIXES = ('.npy', '.csv', '.parquet')


@dataclass
class Embeddings:
    """Features of images, in their order.

    Attributes:
        names: Paths of the images, as they are listed.
        values: ``(n, D)`` float32; of patch tokens ``(n, P, D)``.
        failed: Path and reason of each image that could not be read; these have no
            row.
    """

    names: list[str]
    values: np.ndarray
    failed: dict[str, str]

    def write(self, out: str | Path) -> None:
        """Write names and values.

        Args:
            out: ``.npy`` (the names go to ``OUT.txt`` beside it, a line for each row),
                ``.csv`` (a column for the name and one for each channel) or
                ``.parquet`` (columns ``file`` and ``embedding``; needs pyarrow).

        Raises:
            ValueError: The suffix is another, a table is asked for of patch tokens, or
                pyarrow is missing.
        """
        out = Path(out)
        check_table(out, 'patches' if self.values.ndim == 3 else 'pooled')
        if out.suffix == '.npy':
            np.save(out, self.values)
            lines = ''.join(f'{name}\n' for name in self.names)
            write_text(out.with_suffix('.txt'), lines)
        elif out.suffix == '.csv':
            heads = ','.join(f'f{channel}' for channel in range(self.values.shape[1]))
            quoted = [_quoted(name) for name in self.names]
            rows = [
                f'{name},{",".join(map(repr, row.tolist()))}\n'
                for name, row in zip(quoted, self.values, strict=True)
            ]
            write_text(out, f'file,{heads}\n{"".join(rows)}')
        else:
            import pyarrow
            from pyarrow import parquet

            columns = dict(file=self.names, embedding=list(self.values))
            parquet.write_table(pyarrow.table(columns), out)


def check_table(out: Path, kind: str) -> None:
    """Make sure that features can be written, before any is computed.

    Args:
        out: The file.
        kind: One of ``KINDS``.

    Raises:
        ValueError: As :meth:`Embeddings.write`.
    """
    if out.suffix not in SUFFIXES:
        raise ValueError(f'{out} has to end in {", ".join(SUFFIXES)}')
    if kind == 'patches' and out.suffix != '.npy':
        raise ValueError(
            f'patch tokens are no table: write them to a .npy file, not {out}'
        )
    if out.suffix == '.parquet' and importlib.util.find_spec('pyarrow') is None:
        raise ValueError(
            'a .parquet file needs pyarrow: pip install pyarrow, or write .npy or .csv'
        )


def _quoted(name: str) -> str:
    """A name as a cell of a CSV file."""
    plain = not set(name) & set(',"\n\r')
    return name if plain else '"{}"'.format(name.replace('"', '""'))


class _Pixels(Dataset):
    """Images as tensors, each with what went wrong."""

    def __init__(self, sources: Sequence[str], pipeline: list[dict]) -> None:
        alone = [name for name in sources if is_image(name)]
        places = [name for name in sources if not is_image(name)]
        self.infos = [dict(img_path=name) for name in alone]
        if places or not alone:
            images = OwnImages(places)
            self.infos += [images.get_data_info(index) for index in range(len(images))]
        self.pipeline = Compose([TRANSFORMS.build(step) for step in pipeline])

    def __len__(self) -> int:
        return len(self.infos)

    def __getitem__(self, index: int) -> tuple[Tensor | None, str, str]:
        info = dict(self.infos[index])
        name = str(info['img_path'])
        try:
            sample = self.pipeline(info)
        except Exception as error:
            return None, name, explain(error).removeprefix(f'{name}: ')
        return sample['inputs'].flip(0), name, ''  # BGR to RGB, (3, H, W)


def embed(
    encoder: Encoder | str | Path,
    sources: str | Sequence[str],
    kind: str = 'pooled',
    image_size: int | tuple[int, int] | None = None,
    crop_ratio: float = 0.875,
    batch_size: int = 64,
    workers: int = 0,
    device: torch.device | str | None = None,
) -> Embeddings:
    """Compute features of all images of some places.

    Images are resized by their short side and cropped in the middle, as in the
    evaluation on ImageNet. Of several processes each does its share; the first one has
    the result.

    Args:
        encoder: The encoder, or a file that :func:`.load_encoder` reads.
        sources: Folders, lists and tar archives, as :class:`.OwnImages` takes them, and
            image files.
        kind: 'pooled' (mean of the patch tokens), 'last4' (of the last four blocks),
            'class' (the class token) or 'patches'.
        image_size: Height and width in pixels, or one number for both; the encoder's by
            default.
        crop_ratio: Side of the crop over the short side of the resized image, above 0
            and up to 1.
        batch_size: Images at a time.
        workers: Processes that read images.
        device: Where to encode; the GPU by default, if there is one.

    Returns:
        Names and features; in processes other than the first none.

    Raises:
        FileNotFoundError: There is no such file of an encoder.
        ValueError: An argument is out of range, a place has no image, no image can be
            read, or the encoder has no class token and that is asked for.
    """
    _check(kind, crop_ratio, batch_size, workers)
    if not isinstance(encoder, Encoder):
        encoder = load_encoder(encoder)
    encoder = encoder.to(device or get_device())
    if kind == 'class' and encoder.backbone.cls_token is None:
        raise ValueError(
            'this encoder has no class token: take the pooled patch tokens instead'
        )
    size = encoder.image_size if image_size is None else image_size
    sources = [sources] if isinstance(sources, str) else [*sources]
    images = _Pixels(sources, _pipeline(size, crop_ratio))
    shard = Subset(images, range(get_rank(), len(images), get_world_size()))
    loader = DataLoader(shard, batch_size, num_workers=workers, collate_fn=list)
    rows: list = []
    hidden = get_rank() > 0 or not sys.stderr.isatty()
    console = Console(stderr=True)
    for batch in track(loader, 'embedding', disable=hidden, console=console):
        rows += _encode(encoder, batch, kind)
    return _collect(rows, len(images))


def _check(kind: str, crop_ratio: float, batch_size: int, workers: int) -> None:
    """Raise unless the arguments are in their ranges."""
    if kind not in KINDS:
        raise ValueError(f'kind is one of {", ".join(KINDS)}, not {kind!r}')
    if not 0.0 < crop_ratio <= 1.0 or batch_size < 1 or workers < 0:
        raise ValueError(
            'crop_ratio is above 0 and up to 1, batch_size a number from 1 and workers '
            f'one from 0, got {crop_ratio}, {batch_size} and {workers}'
        )


def _pipeline(size: int | tuple[int, int], crop_ratio: float) -> list[dict[str, Any]]:
    height, width = (size, size) if isinstance(size, int) else size
    edge = round(min(height, width) / crop_ratio)
    resize = dict(type='ResizeEdge', scale=edge, edge='short', backend='pillow')
    if height != width:  # the crop has to fit
        scale = (round(width / crop_ratio), round(height / crop_ratio))
        resize = dict(type='Resize', scale=scale, backend='pillow')
    return [
        dict(type='LoadImage'),
        dict(resize, interpolation='bicubic'),
        dict(type='CenterCrop', crop_size=(width, height)),
        dict(type='PackInputs'),
    ]


def _encode(encoder: Encoder, batch: list, kind: str) -> list[tuple]:
    """Name, features and reason of each image of a batch."""
    good = [pixels for pixels, *_ in batch if pixels is not None]
    found: list[np.ndarray] = []
    if good:
        features = encoder(torch.stack(good).to(encoder.mean.device))
        found = [*_chosen(features, kind).cpu().numpy()]
    values = iter(found)
    return [
        (name, None if pixels is None else next(values), reason)
        for pixels, name, reason in batch
    ]


def _chosen(features: Features, kind: str) -> Tensor:
    if kind == 'class':
        assert features.class_token is not None, 'asked before'
        return features.class_token
    return getattr(features, kind)


def _collect(rows: list[tuple], size: int) -> Embeddings:
    """Join the rows of all processes in the order of the images."""
    if get_world_size() > 1:
        rows = collect_results_cpu(rows, size) or []
    failed = {name: reason for name, value, reason in rows if value is None}
    kept = [(name, value) for name, value, _ in rows if value is not None]
    if rows and not kept:
        name, reason = next(iter(failed.items()))
        raise ValueError(f'none of {size} images can be read; {name}: {reason}')
    values = np.stack([value for _, value in kept]) if kept else np.zeros((0, 0))
    return Embeddings([name for name, _ in kept], values.astype(np.float32), failed)
