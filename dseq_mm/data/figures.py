"""Images with masks of what they show: where is figure, where is ground.

Shape legend: ``(h, w)`` pixels, ``(H, W)`` patches.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ..utils.values import is_count
from .own_images import find_images

_MASKS = ('.png', '.bmp', '.tif', '.tiff')


class Figures:
    """Images and, of each pixel, whether it is figure, ground, or neither.

    Args:
        images: Folder of the images.
        masks: COCO's ``instances_*.json``, in which all instances are figure; or a
            folder of maps of labels as ADE20K has them, each named like its image with
            another suffix.
        ground: Labels of a map that are ground; all others are figure.
        ignored: Labels of a map that are neither.
        number: Images to take, spread over all; None for all.

    Attributes:
        paths: Of the images that have a mask, within their folder, sorted.

    Raises:
        FileNotFoundError: There is no such folder or file.
        ValueError: No image has a mask, or an argument is none.
    """

    def __init__(
        self,
        images: str | Path,
        masks: str | Path,
        ground: Sequence[int] = (0,),
        ignored: Sequence[int] = (255,),
        number: int | None = None,
    ) -> None:
        if number is not None and not is_count(number):
            raise ValueError(f'number is a whole number from 1, or None, not {number}')
        self.images, self.masks = Path(images), Path(masks)
        self.ground, self.ignored = [*ground], [*ignored]
        for place in (self.images, self.masks):
            if not place.exists():
                raise FileNotFoundError(f'{place}: there is no such file or folder')
        names = find_images([str(self.images)])[0].paths
        self._maps = _find_maps(self.masks) if self.masks.is_dir() else {}
        self._instances = {} if self.masks.is_dir() else _read_coco(self.masks)
        known = {*self._maps, *self._instances}
        self.paths = [name for name in names if {name, _stem(name)} & known]
        if not self.paths:
            raise ValueError(
                f'none of the {len(names)} images of {images} has a mask in {masks}: '
                'a map has the name of its image, and an entry of COCO its file_name'
            )
        if number is not None and number < len(self.paths):
            chosen = np.linspace(0, len(self.paths) - 1, number).round().astype(int)
            self.paths = [self.paths[index] for index in chosen]

    def __len__(self) -> int:
        """Count the images.

        Returns:
            The number.
        """
        return len(self.paths)

    def shares(self, index: int, grid: tuple[int, int]) -> np.ndarray:
        """Tell how much of each patch is figure, and how much ground.

        Args:
            index: Of the image.
            grid: ``(H, W)``, which cover the whole image.

        Returns:
            Shares of pixels, ``(2, H, W)``, float32: figure, ground.

        Raises:
            ValueError: The map cannot be read, or is no map of labels.
        """
        path = self.paths[index]
        pair = self._from_coco(path) if self._instances else self._from_map(path)
        height, width = grid
        return np.stack(
            [
                cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
                for part in pair
            ]
        )

    def _from_map(self, path: str) -> tuple[np.ndarray, np.ndarray]:
        file = self._maps[_stem(path)]
        labels = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        if labels is None or labels.ndim != 2:
            raise ValueError(f'{file}: a map of labels is an image of one channel')
        ground, ignored = np.isin(labels, self.ground), np.isin(labels, self.ignored)
        figure = ~ground & ~ignored
        return figure.astype(np.float32), (ground & ~ignored).astype(np.float32)

    def _from_coco(self, path: str) -> tuple[np.ndarray, np.ndarray]:
        from pycocotools import mask as coco

        *instances, size = self._instances[path]
        height, width = size['height'], size['width']
        figure = np.zeros((height, width), bool)
        for instance in instances:
            shape = instance['segmentation']
            if isinstance(shape, list):
                shape = coco.merge(coco.frPyObjects(shape, height, width))
            elif isinstance(shape['counts'], list):
                shape = coco.frPyObjects(shape, height, width)
            figure |= coco.decode(shape).astype(bool)
        return figure.astype(np.float32), (~figure).astype(np.float32)


def _stem(name: str) -> str:
    """Name of a file without its suffix."""
    return Path(name).with_suffix('').as_posix()


def _find_maps(folder: Path) -> dict[str, Path]:
    """Maps of labels by their names within the folder."""
    return {
        _stem(str(path.relative_to(folder))): path
        for path in sorted(folder.rglob('*'))
        if path.suffix.lower() in _MASKS
    }


def _read_coco(file: Path) -> dict[str, list[dict]]:
    """Instances of each image by its file name, and last the image's own entry."""
    try:
        import pycocotools.mask  # noqa: F401
    except ImportError:
        raise ValueError(
            'masks of COCO need pycocotools: pip install pycocotools'
        ) from None
    try:
        content = json.loads(file.read_text(encoding='utf-8'))
        images = {image['id']: image for image in content['images']}
        instances: dict = {key: [] for key in images}
        for instance in content['annotations']:
            instances[instance['image_id']].append(instance)
        return {
            image['file_name']: [*instances[key], image]
            for key, image in images.items()
            if instances[key]
        }
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file} is no file of COCO's instances ({error!r}): it has 'images' and "
            "'annotations' with 'image_id' and 'segmentation'"
        ) from None
