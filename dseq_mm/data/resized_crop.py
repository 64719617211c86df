"""Random crops, resized by PyTorch.

Shape legend: ``(h, w)`` pixels of the image, ``(H, W)`` of the result.
"""

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.registry import TRANSFORMS
from mmpretrain.datasets.transforms import RandomResizedCrop


@TRANSFORMS.register_module()
class AntialiasedResizedCrop(RandomResizedCrop):
    """mmpretrain's `RandomResizedCrop`, with PyTorch's antialiased resize.

    The crops of a seed are those of the host's. So are the pixels of
    `backend='pillow'`, to 1 of 255: the filter is the same, and rounding is not.

    Args:
        scale: Height and width of the result in pixels, or one number for both.
        crop_ratio_range: Lowest and highest area of a crop as a share of the image.
        aspect_ratio_range: Lowest and highest width over height of a crop.
        max_attempts: Draws until one fits, then the middle is taken.
        interpolation: `'bilinear'`; for others PyTorch is further from Pillow.

    Raises:
        ValueError: If the interpolation is another one.
    """

    def __init__(
        self,
        scale: int | tuple[int, int],
        crop_ratio_range: tuple[float, float] = (0.08, 1.0),
        aspect_ratio_range: tuple[float, float] = (3 / 4, 4 / 3),
        max_attempts: int = 10,
        interpolation: str = 'bilinear',
    ) -> None:
        if interpolation != 'bilinear':
            raise ValueError(
                f"interpolation is 'bilinear', not {interpolation!r}: others are in "
                'RandomResizedCrop'
            )
        super().__init__(
            scale,
            crop_ratio_range,
            aspect_ratio_range,
            max_attempts,
            interpolation,
            backend='pillow',
        )

    def transform(self, results: dict) -> dict:
        """Crop and resize the image of a sample.

        Args:
            results: Has `img`, ``(h, w, 3)`` or ``(h, w)``, uint8 or float32.

        Returns:
            It with `img`, ``(H, W, 3)`` or ``(H, W)``, of the same type, and
            `img_shape`.
        """
        image = results['img']
        top, left, height, width = self.rand_crop_params(image)
        crop = image[top : top + height, left : left + width]
        results['img'] = resize(crop, tuple(self.scale))
        results['img_shape'] = results['img'].shape
        return results


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image bilinearly, with the filter widened where it becomes smaller.

    Args:
        image: ``(h, w, C)`` or ``(h, w)``, uint8 or float32, of any strides.
        size: ``(H, W)``.

    Returns:
        ``(H, W, C)`` or ``(H, W)``, of the same type.
    """
    if min(image.strides) < 0 or not image.flags.writeable:  # PyTorch takes no such
        image = image.copy()
    pixels = torch.from_numpy(image)
    pixels = pixels[..., None] if image.ndim == 2 else pixels  # (h, w, C)
    # (h, w, C) -> (1, C, h, w); rows of a crop are copied as they are, for PyTorch's
    # fast path, whose result is laid out in the same way
    pixels = pixels.permute(2, 0, 1)[None].contiguous(memory_format=torch.channels_last)
    resized = F.interpolate(pixels, size, mode='bilinear', antialias=True)
    resized = resized[0].permute(1, 2, 0)  # (1, C, H, W) -> (H, W, C)
    return resized.reshape(*size, *image.shape[2:]).contiguous().numpy()
