"""Images as an encoder is to see them, and what it says of their patches.

Shape legend: ``(h, w)`` pixels, ``(H, W)`` patches, ``h`` heads, ``D`` channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from ..data.load_image import LoadImage
from ..data.own_images import OwnImages, is_image
from ..utils.values import is_count
from ..visualization.grid import shown_pixels
from .encoder_file import Encoder

_LONGEST = 3.0  # times the short side; longer images are cropped in the middle


@dataclass
class Picture:
    """An image as an encoder is to see it.

    Attributes:
        name: Its file.
        pixels: RGB, ``(h, w, 3)``, uint8, of whole patches.
    """

    name: str
    pixels: np.ndarray

    @property
    def batch(self) -> torch.Tensor:
        """As a batch of one, ``(1, 3, h, w)``."""
        return torch.from_numpy(self.pixels.transpose(2, 0, 1).copy())[None]

    @property
    def shown(self) -> np.ndarray:
        """Small enough for a page, ``(h, w, 3)``."""
        return shown_pixels(self.pixels)


def read_pictures(
    sources: str | Sequence[str],
    encoder: Encoder,
    number: int = 6,
    size: int | None = None,
) -> list[Picture]:
    """Read images, whole, each in its own shape.

    Args:
        sources: Folders, lists and tar archives as :class:`.OwnImages` takes them, and
            image files.
        encoder: Tells the size, and that of its patches.
        number: How many, spread over all.
        size: Short side in pixels; by default that of the images that the encoder was
            trained on.

    Returns:
        The images, resized to whole patches.

    Raises:
        ValueError: There are none, or one cannot be read.
    """
    sources = [sources] if isinstance(sources, str) else [*sources]
    if not is_count(number) or (size is not None and not is_count(size)):
        raise ValueError(f'number and size count from 1, got {number} and {size}')
    files = [name for name in sources if is_image(name)]
    places = [name for name in sources if name not in files]
    if places or not files:
        images = OwnImages(places)
        files += [images.get_data_info(i)['img_path'] for i in range(len(images))]
    if number < len(files):
        chosen = np.linspace(0, len(files) - 1, number).round().astype(int)
        files = [files[index] for index in chosen]
    load, patch = LoadImage(), encoder.backbone.patch_size
    short = size or min(encoder.image_size)
    pictures = []
    for name in files:
        pixels = cv2.cvtColor(load(dict(img_path=name))['img'], cv2.COLOR_BGR2RGB)
        pictures.append(Picture(str(name), _fit(pixels, short, patch)))
    return pictures


def _fit(pixels: np.ndarray, short: int, patch: int) -> np.ndarray:
    """Resize to whole patches; a long strip is cropped."""
    height, width = pixels.shape[:2]
    longest = round(_LONGEST * min(height, width))
    top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
    pixels = pixels[top : top + longest, left : left + longest]
    height, width = pixels.shape[:2]
    scale = short / min(height, width)
    sides = [max(1, round(side * scale / patch)) * patch for side in (width, height)]
    area = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(pixels, sides, interpolation=area)


def patch_tokens(encoder: Encoder, picture: Picture) -> np.ndarray:
    """Encode an image.

    Args:
        encoder: The encoder.
        picture: The image.

    Returns:
        Patch tokens after the final norm, ``(H, W, D)``.
    """
    step = encoder.backbone.patch_size
    height, width = picture.pixels.shape[:2]
    tokens = encoder(picture.batch).patches[0].cpu().numpy()  # (P, D)
    return tokens.reshape(height // step, width // step, -1)


@torch.no_grad()
def class_attention(encoder: Encoder, picture: Picture) -> np.ndarray:
    """Compute what the class token attends to.

    Args:
        encoder: The encoder.
        picture: The image.

    Returns:
        Attention over patches of each layer and head, ``(layers, h, H, W)``; what the
        class token pays to itself is left out.

    Raises:
        ValueError: The encoder has no class token.
    """
    vit = encoder.backbone
    if vit.cls_token is None:
        raise ValueError(
            'this encoder has no class token, so it has no attention to draw: take '
            'pca, similarity or clusters'
        )
    rows: list[torch.Tensor] = []
    handles = [
        layer.ln1.register_forward_hook(
            lambda module, inputs, output, attention=layer.attn: rows.append(
                attention.first_token_attention_by_head(output)
            )
        )
        for layer in vit.layers
    ]
    try:
        grid = vit.encode(encoder.normalize(picture.batch)).grid
    finally:
        for handle in handles:
            handle.remove()
    found = torch.cat(rows)[..., vit.num_extra_tokens :]  # (layers, h, P)
    return found.unflatten(-1, grid).cpu().numpy()
