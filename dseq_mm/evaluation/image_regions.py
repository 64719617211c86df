"""Regions of any images by any encoder: what DSeq-JEPA predicts, in what order.

Shape legend: ``B`` images of ``(h, w)`` pixels, ``(H, W)`` patches, ``N`` regions.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..clock import TrainingClock
from ..models.mask_generators import DiscriminativeMaskGenerator
from ..models.saliency import GradCAM
from .encoder_file import Encoder, load_encoder

_PAPERS_BLOCK = 9  # the 10th layer of twelve


class ImageRegions(NamedTuple):
    """Where images are discriminative.

    Attributes:
        saliency: ``(B, H, W)``, of any range.
        rank: Rank of each patch's region, ``(B, H, W)``: 0 is the first that is
            context, ``N - 1`` the rest of the image.
        source: How each region was found, :class:`~dseq_mm.regions.Source`, ``(B, N)``.
    """

    saliency: Tensor
    rank: Tensor
    source: Tensor


@torch.no_grad()
def find_regions(
    encoder: Encoder | str | Path,
    images: Tensor,
    num_regions: int | None = None,
    saliency: dict[str, Any] | None = None,
    rule: dict[str, Any] | None = None,
    seed: int = 0,
) -> ImageRegions:
    """Find the regions of images, as at the end of DSeq-JEPA's curriculum.

    Args:
        encoder: The encoder, or a file that :func:`.load_encoder` reads.
        images: Red, green and blue, ``(B, 3, h, w)``, as bytes or from 0.0 to 1.0.
        num_regions: ``N``, the rest of the image counted; by default that of the
            encoder's pre-training, where its file tells it, or else 5.
        saliency: Config of the saliency proxy; by default that of the pre-training, or
            else the similarity of class token and patches in the 10th layer, in
            networks of fewer than twelve layers in the third from the end.
        rule: Other settings of :class:`~dseq_mm.regions.RegionRule`, likewise.
        seed: Of what is drawn where no region is found.

    Returns:
        The regions, on the CPU.

    Raises:
        FileNotFoundError: There is no such file of an encoder.
        ValueError: The images or a setting cannot be taken, or the saliency needs a
            class token or a predictor, and the encoder has none.
    """
    if not isinstance(encoder, Encoder):
        encoder = load_encoder(encoder)
    vit = encoder.backbone
    block = min(_PAPERS_BLOCK, max(0, vit.num_layers - 3))
    usual = dict(
        num_regions=5,
        saliency=dict(type='dseq_mm.ClassTokenSimilarity', block=block),
        rule=None,
    )
    asked = dict(num_regions=num_regions, saliency=saliency, rule=rule)
    asked = {name: value for name, value in asked.items() if value is not None}
    settings: dict[str, Any] = {**usual, **encoder.regions, **asked}
    generator = DiscriminativeMaskGenerator(**settings, seed=seed)
    generator.check(vit.num_layers, vit.cls_token is not None)
    if isinstance(generator.saliency, GradCAM):
        raise ValueError(
            "Grad-CAM needs the predictor, which is not the encoder's: give another "
            'saliency, or draw with tools/visualize_regions.py CONFIG CHECKPOINT'
        )
    encoded = vit.encode(
        encoder.normalize(images), generator.hidden, generator.attention
    )
    index, clock = torch.arange(len(images)), TrainingClock(0, 0, 1.0)
    regions = generator.regions(encoded, index, clock, None, 1.0)
    found = generator.saliency(encoded, index, clock, None)
    return ImageRegions(found.cpu(), regions.rank.cpu(), regions.source.cpu())
