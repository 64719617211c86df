"""Loading an image so that its values are neither truncated nor its size a danger."""

import io
import struct
import warnings
import zlib
from collections.abc import Mapping

import cv2
import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from mmengine.registry import TRANSFORMS
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from .files import printable

#: Pillow's own limit, beyond which it calls a file a decompression bomb; decoded, such
#: an image takes 0.54 GB.
MAX_PIXELS = 178_956_970
# What readers and decoders raise for a file that is missing, cut off or no image.
UNREADABLE = (
    OSError,
    ValueError,
    AssertionError,
    SyntaxError,
    EOFError,
    MemoryError,
    struct.error,
    zlib.error,
    cv2.error,
    Image.DecompressionBombError,
)
_TIFF = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """mmcv's `LoadImageFromFile` that looks at the header before it decodes.

    The pixels of images of 8 bits are those of `LoadImageFromFile`. Others are scaled
    to 8 bits: integers by the range of their type, by the largest value that a PGM or
    PPM file declares, or by `bit_depth`; floating-point numbers from 0..1. What would
    come out wrong is refused: negative or larger values; integers that use less than a
    sixteenth of their range, as those of a camera of 12 bits do, unless `bit_depth` or
    the PNG chunk `sBIT` tells how many bits they have; TIFF files that cannot be read
    exactly. The first page or frame of several is taken, as OpenCV does.

    With `color_type='unchanged'` or another `imdecode_backend` than `cv2` and `pillow`
    only the number of pixels is looked at.

    Args:
        *args: Those of `LoadImageFromFile`.
        max_pixels: Number of pixels (width times height) up to which an image is
            decoded; twice `PIL.Image.MAX_IMAGE_PIXELS` bounds it, too.
        bit_depth: How many bits the integers of images of more than 8 bits have;
            None is what their files say.
        **kwargs: Those of `LoadImageFromFile`.

    Raises:
        ValueError: An argument is out of range, or, in use, the file is not an image
            that can be decoded right; the message names it.
    """

    def __init__(
        self,
        *args,
        max_pixels: int = MAX_PIXELS,
        bit_depth: int | None = None,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        if max_pixels < 1:
            raise ValueError(f'max_pixels is a number from 1, not {max_pixels}')
        if bit_depth is not None and not 8 <= bit_depth <= 32:
            raise ValueError(f'bit_depth is 8 to 32 or None, not {bit_depth}')
        self.max_pixels, self.bit_depth = max_pixels, bit_depth

    def transform(self, results: dict) -> dict | None:
        """Load the image of a sample.

        Args:
            results: Has `img_path`.

        Returns:
            It with `img`, `img_shape` and `ori_shape`; None where that fails and
            `ignore_empty` is set.

        Raises:
            ValueError: The file is not an image that can be decoded right.
            OSError: It cannot be read.
        """
        if 'img' in results and 'img_path' not in results:
            return results  # mmpretrain's inferencers load it themselves
        path = results['img_path']
        try:
            image = self._decode(self._read(path), path)
        except Exception:
            if self.ignore_empty:
                return None
            raise
        if self.to_float32:
            image = image.astype(np.float32)
        results['img'] = image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def _read(self, path: str) -> bytes:
        try:
            if self.file_client_args is None:
                return fileio.get(path, backend_args=self.backend_args)
            return fileio.FileClient.infer_client(self.file_client_args, path).get(path)
        except FileNotFoundError:
            raise
        except OSError as error:  # such as a folder of that name
            reason = error.strerror or str(error)
            raise OSError(f'{printable(path)}: {reason}') from error

    def _decode(self, content: bytes, path: str) -> np.ndarray:
        try:
            if not content:
                raise ValueError('the file is empty')
            header = _read_header(content)
            width, height = header.size
            if width * height > self.max_pixels:
                raise ValueError(
                    f'{width} x {height} = {width * height:,} pixels are more than '
                    f'max_pixels={self.max_pixels:,} of LoadImage'
                )
            exact = self.imdecode_backend in ('cv2', 'pillow')
            if exact and self.color_type != 'unchanged' and _is_deep(header):
                return self._decode_deep(content, header)
            image = mmcv.imfrombytes(
                content, flag=self.color_type, backend=self.imdecode_backend
            )
            if image is None:
                raise ValueError(f'{self.imdecode_backend} cannot decode it')
            return image
        except UNREADABLE as error:
            reason = ' '.join(str(error).split()) or type(error).__name__
            raise ValueError(f'{printable(path)}: {reason}') from error

    def _decode_deep(self, content: bytes, header: ImageFile) -> np.ndarray:
        """An image of other values than 8 bits, in 8 bits and OpenCV's channels."""
        if isinstance(header, TiffImageFile):
            _check_tiff(header.tag_v2)
        # a single channel of 32 bits is decoded only as it is
        whole = header.mode == 'F' or '32' in str(_raw_mode(header))
        flag = cv2.IMREAD_UNCHANGED
        if not whole:
            flag = mmcv.image.io.imread_flags[self.color_type] | cv2.IMREAD_ANYDEPTH
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flag)
        if image is None:
            raise ValueError(f'OpenCV cannot decode this {_kind(header)}: convert it')
        image = _scale(image, self._declared(content, header, image))
        gray = self.color_type.startswith('grayscale')
        if image.ndim == 2 and not gray:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        return image

    def _declared(
        self, content: bytes, header: ImageFile, image: np.ndarray
    ) -> int | None:
        """The largest value that the integers can have, if that is known."""
        if self.bit_depth is not None:
            return 2**self.bit_depth - 1
        if header.format == 'PPM':
            raw = _raw_mode(header)
            return raw[-1] if isinstance(raw, tuple) else None
        bits = _significant_bits(content) if header.format == 'PNG' else 16
        # A PNG's values should fill 16 bits all the same; some writers do not scale
        # them. Those that are scaled repeat their upper bits below, or have zeros.
        low = 2 ** (16 - bits) - 1
        if bits < 16 and image.max() < 2**bits and (image & low).any():
            return 2**bits - 1
        return None


def _read_header(content: bytes) -> ImageFile:
    """Pillow's description of an image, nothing of it decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of bombs; the caller compares the size
            return Image.open(io.BytesIO(content))
    except UnidentifiedImageError:
        if content.startswith(_TIFF):
            raise ValueError(
                'a damaged TIFF file, or one of a kind that is not read (such as '
                'float16, float64 and 64-bit integers): convert it'
            ) from None
        raise ValueError('no image, or one with a damaged header') from None
    except Image.DecompressionBombError as error:
        raise ValueError(f'more pixels than are decoded: {error}') from None
    except (OSError, SyntaxError, EOFError, struct.error) as error:
        raise ValueError(f'no image, or one with a damaged header: {error}') from None


def _raw_mode(header: ImageFile) -> str | tuple:
    """How the values are stored, in Pillow's words."""
    return (header.tile[0][3] if header.tile else None) or ''


def _is_deep(header: ImageFile) -> bool:
    """Whether values are stored in another way than with up to 8 bits each."""
    if header.format == 'JPEG':
        return False  # others are not decoded at all
    if isinstance(header, TiffImageFile):
        bits, kinds = (header.tag_v2.get(tag, ()) for tag in (258, 339))
        return max((*bits, 1)) > 8 or any(kind != 1 for kind in kinds)
    raw = _raw_mode(header)
    if header.format == 'PPM' and isinstance(raw, tuple):
        return raw[-1] != 255
    return header.mode[0] in 'IF' or ';16' in str(raw)


def _kind(header: ImageFile) -> str:
    return f'{header.format} file ({header.mode}, stored as {_raw_mode(header)})'


def _check_tiff(tags: Mapping) -> None:
    """Refuse kinds of more than 8 bits that OpenCV decodes wrongly or not at all."""
    bits, kinds = tags.get(258, (1,)), tags.get(339) or (1,)
    found = f'a TIFF file of {bits[0]} bits'
    if len({*bits}) > 1 or len({*kinds}) > 1:
        raise ValueError('a TIFF file whose channels differ in their bits: convert it')
    if (bits[0], kinds[0]) not in {(16, 1), (16, 2), (32, 2), (32, 3)}:
        kind = {1: 'unsigned', 2: 'signed', 3: 'float'}.get(kinds[0], 'other')
        raise ValueError(
            f'{found} ({kind}), which is not read: convert it to 8 or 16 bits'
        )
    if tags.get(284, 1) != 1 and len(bits) > 1:
        raise ValueError(f'{found} with separate planes: store them interleaved')
    if tags.get(262, 1) not in (1, 2):
        raise ValueError(
            f'{found} with photometric interpretation {tags[262]}: convert it to gray '
            '(black is 0) or RGB'
        )


def _significant_bits(content: bytes) -> int:
    """Bits that a PNG of 16 bits declares in `sBIT`; the most of its channels."""
    place = 8
    while place + 8 <= len(content):
        length, kind = struct.unpack_from('>I4s', content, place)
        if kind == b'sBIT':
            return max(content[place + 8 : place + 8 + min(length, 3)], default=16)
        if kind == b'IDAT':
            break
        place += length + 12
    return 16


def _scale(image: np.ndarray, largest: int | None) -> np.ndarray:
    """Values of any type in 8 bits.

    Args:
        image: The values.
        largest: The largest one that integers can have; None is that of their type,
            and then they must use at least a sixteenth of it.

    Returns:
        Rounded values of 0..255.

    Raises:
        ValueError: Values are out of range, or would become all dark.
    """
    low, high = image.min(), image.max()
    if image.dtype.kind == 'f':
        if not (low >= 0 and high <= 1):  # NaN, too
            raise ValueError(
                f'floating-point values from {low:.4g} to {high:.4g}; only 0 to 1 has '
                'a meaning as brightness: scale them before'
            )
        return np.rint(image * 255).astype(np.uint8)
    kind, limit = image.dtype.name, np.iinfo(image.dtype).max
    if low < 0:
        raise ValueError(f'negative values (down to {low}, {kind}): shift them before')
    if largest is None:
        largest = limit
        if 0 < high <= limit // 16:
            raise ValueError(
                f'{kind}, but no value is over {high}: scaled by the range of the type '
                'it would be black. Tell how many bits are used by bit_depth of '
                f'LoadImage (bit_depth={max(int(high).bit_length(), 8)} or more)'
            )
    elif high > largest:
        raise ValueError(
            f'the value {high} is over {largest}, the largest one of its bit depth'
        )
    if largest == 255:
        return image.astype(np.uint8)
    return np.rint(image * (255 / largest)).astype(np.uint8)
