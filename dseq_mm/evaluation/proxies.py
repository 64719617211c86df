"""Which saliency finds what images show: every proxy at every block, against masks.

Shape legend: ``B`` images, ``(H, W)`` patches.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from ..clock import TrainingClock
from ..data.figures import Figures
from ..data.load_image import LoadImage
from ..models.jepa import JEPA
from ..models.mask_generators import DiscriminativeMaskGenerator
from ..models.saliency import GivenSaliency, SaliencyProxy
from ..registry import MODELS
from .alignment import alignment
from .encoder_file import Encoder

#: Proxies that read one block each, and whether they need a class token.
OF_A_BLOCK = dict(
    ClassTokenSimilarity=True,
    ClassTokenAttention=True,
    TokenContrast=False,
    TokenNorm=False,
)


class Alignment(NamedTuple):
    """What a proxy has in common with masks, as means over images.

    Attributes:
        proxy: Its name.
        block: That it reads; None of those that read none.
        saliency_auc: Of figure against ground, over pixels; 1 minus it is that of the
            inverted proxy.
        pointing: Share of figure in the most salient patch: the pointing game.
        r1_figure: Share of R1 that is figure.
        r1_iou: Intersection of R1 and figure over their union.
        figure: Share of the image that is figure: what chance gives for ``pointing``
            and ``r1_figure``.
    """

    proxy: str
    block: int | None
    saliency_auc: float
    pointing: float
    r1_figure: float
    r1_iou: float
    figure: float


@torch.no_grad()
def measure_proxies(
    encoder: Encoder,
    figures: Figures,
    algorithm: JEPA | None = None,
    polarity: str = 'as_is',
    num_regions: int | None = None,
    batch_size: int = 50,
) -> list[Alignment]:
    """Measure every proxy at every block.

    Args:
        encoder: The encoder; images are resized to its own size, as a whole.
        figures: Images with masks.
        algorithm: Of the same checkpoint, whose predictor Grad-CAM needs; without it
            Grad-CAM is left out.
        polarity: Of all proxies, see :class:`.SaliencyProxy`.
        num_regions: ``N``; by default that of the encoder's pre-training, or 5.
        batch_size: Images at a time.

    Returns:
        A row for each proxy and block, block after block. Without a class token there
        are none of those that need it.

    Raises:
        ValueError: An image or mask cannot be read.
    """
    vit = encoder.backbone
    proxies = [*_proxies(vit, algorithm, polarity)]
    regions = {k: v for k, v in encoder.regions.items() if k != 'saliency'}
    if num_regions is not None:
        regions['num_regions'] = num_regions
    generator = DiscriminativeMaskGenerator(**regions, seed=0)
    clock = TrainingClock(0, 0, 1.0)
    totals = torch.zeros(len(proxies), 5, 2, dtype=torch.float64)
    latent_loss: Any = algorithm.latent_loss if algorithm else None
    blocks = range(vit.num_layers)
    attention = blocks if vit.cls_token is not None else ()
    for start in range(0, len(figures), batch_size):
        chosen = [*range(start, min(start + batch_size, len(figures)))]
        images, shares = _read(encoder, figures, chosen)
        encoded = vit.encode(encoder.normalize(images), blocks, attention)
        index = torch.tensor(chosen)
        for row, (_, _, proxy) in enumerate(proxies):
            found = proxy(encoded, index, clock, latent_loss)
            generator.saliency = GivenSaliency(found)
            rank = generator.regions(encoded, index, clock, None, 1.0).rank
            values = _measure(found.cpu(), rank.cpu(), shares)  # (5, B)
            valid = values.isfinite()
            totals[row, :, 0] += values.where(valid, 0).sum(1)
            totals[row, :, 1] += valid.sum(1)
    means = (totals[..., 0] / totals[..., 1]).tolist()
    return [
        Alignment(name, block, *row)
        for (name, block, _), row in zip(proxies, means, strict=True)
    ]


def _proxies(
    vit, algorithm: JEPA | None, polarity: str
) -> Iterator[tuple[str, int | None, SaliencyProxy]]:
    """Name, block and proxy of all rows."""
    for name, needs_class_token in OF_A_BLOCK.items():
        if needs_class_token and vit.cls_token is None:
            continue
        for block in range(vit.num_layers):
            settings = dict(type=f'dseq_mm.{name}', block=block, polarity=polarity)
            yield name, block, MODELS.build(settings)
    if algorithm is not None:
        settings = dict(type='dseq_mm.GradCAM', polarity=polarity, seed=0)
        yield 'GradCAM', None, MODELS.build(settings)


def _measure(saliency: Tensor, rank: Tensor, shares: Tensor) -> Tensor:
    """Numbers of each image in the order of :class:`Alignment`, ``(5, B)``."""
    figure, ground = shares.unbind(1)  # (B, H, W) each
    found = alignment(saliency, rank, figure, ground)
    first = saliency.flatten(1).argmax(1, keepdim=True)  # (B, 1)
    figure, ground = figure.flatten(1).double(), ground.flatten(1).double()
    both = (figure + ground).gather(1, first)
    pointing = (figure.gather(1, first) / both).squeeze(1)
    names = ('saliency_auc', '', 'r1_figure', 'r1_iou', 'figure')
    return torch.stack([found[name] if name else pointing for name in names])


def _read(
    encoder: Encoder, figures: Figures, chosen: list[int]
) -> tuple[Tensor, Tensor]:
    """Images, ``(B, 3, h, w)``, and shares of figure and ground, ``(B, 2, H, W)``."""
    height, width = encoder.image_size
    load, pixels = LoadImage(), []
    for index in chosen:
        path = f'{figures.images}/{figures.paths[index]}'
        image = cv2.cvtColor(load(dict(img_path=path))['img'], cv2.COLOR_BGR2RGB)
        smaller = image.shape[0] > height
        area = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
        pixels.append(cv2.resize(image, (width, height), interpolation=area))
    batch = torch.from_numpy(np.stack(pixels).transpose(0, 3, 1, 2).copy())
    grid = tuple(encoder.backbone.patch_resolution)
    shares = torch.from_numpy(np.stack([figures.shares(i, grid) for i in chosen]))
    return batch, shares


def best(rows: list[Alignment]) -> Alignment:
    """Find the row that finds the figure best, by the AUC of either polarity.

    Args:
        rows: What :func:`measure_proxies` returned.

    Returns:
        The row; where the inverted proxy is meant, with its AUC and ``inverted`` in
        its name.
    """
    row = max(rows, key=lambda each: abs(each.saliency_auc - 0.5))
    if row.saliency_auc >= 0.5:
        return row
    return row._replace(
        proxy=f'{row.proxy}, inverted', saliency_auc=1 - row.saliency_auc
    )
