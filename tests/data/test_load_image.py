"""Values of images of all kinds: exactly those of mmcv, scaled, or refused."""

import io
import struct
import warnings
import zlib

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmengine.registry import TRANSFORMS
from PIL import Image, TiffImagePlugin

from dseq_mm.data import LoadImage
from dseq_mm.data.load_image import MAX_PIXELS
from dseq_mm.utils.command import is_told

RANDOM = np.random.RandomState(0)
COLOR = RANDOM.randint(0, 256, (9, 12, 3)).astype(np.uint8)
GRAY16 = RANDOM.randint(0, 65536, (9, 12)).astype(np.uint16)
COLOR16 = RANDOM.randint(0, 65536, (9, 12, 3)).astype(np.uint16)


def saved(image, kind, **kwargs):
    buffer = io.BytesIO()
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    image.save(buffer, kind, **kwargs)
    return buffer.getvalue()


def encoded(image, suffix):
    return cv2.imencode(suffix, image)[1].tobytes()


def cv2_reads(content):
    return cv2.imdecode(np.frombuffer(content, np.uint8), 1) is not None


def tiff(values, bits, kind=1, photometric=1, samples=1, planar=1):
    """A TIFF file without compression of any kind of values."""
    height, width = values.shape[:2]
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[256], tags[257], tags[259], tags[262] = width, height, 1, photometric
    tags[258], tags[339] = (bits,) * samples, (kind,) * samples
    tags[277], tags[278], tags[284] = samples, height, planar
    content = values.tobytes()
    tags[279], tags[273] = len(content), 0  # Pillow adds the length of the tags
    return struct.pack('<2sHI', b'II', 42, 8) + tags.tobytes(8) + content


def exif(orientation):
    tags = Image.Exif()
    tags[274] = orientation
    return tags


def load(tmp_path, content, name='image', transform=None, **kwargs):
    path = tmp_path / name
    path.write_bytes(content)
    transform = transform or LoadImage(**kwargs)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        return transform({'img_path': str(path)})['img']


def picture(mode):
    return Image.fromarray(COLOR).convert(mode)


FRAMES = dict(save_all=True, append_images=[Image.fromarray(255 - COLOR)])
ORDINARY = dict(
    jpg=saved(COLOR, 'JPEG'),
    jpg_gray=saved(COLOR[..., 0], 'JPEG'),
    jpg_cmyk=saved(picture('CMYK'), 'JPEG'),
    jpg_turned=saved(COLOR, 'JPEG', exif=exif(6)),
    jpg_progressive=saved(COLOR, 'JPEG', progressive=True),
    png=saved(COLOR, 'PNG'),
    png_palette=saved(picture('P'), 'PNG'),
    png_clear_palette=saved(picture('P'), 'PNG', transparency=3),
    png_bits=saved(picture('1'), 'PNG'),
    png_gray_alpha=saved(picture('LA'), 'PNG'),
    png_rgba=saved(picture('RGBA'), 'PNG'),
    apng=saved(COLOR, 'PNG', **FRAMES),
    bmp=saved(COLOR, 'BMP'),
    bmp_palette=saved(picture('P'), 'BMP'),
    webp=saved(COLOR, 'WEBP'),
    webp_alpha=saved(picture('RGBA'), 'WEBP', lossless=True),
    webp_moving=saved(COLOR, 'WEBP', lossless=True, **FRAMES),
    tif=saved(COLOR, 'TIFF'),
    tif_lzw=saved(COLOR, 'TIFF', compression='tiff_lzw'),
    tif_pages=saved(COLOR, 'TIFF', **FRAMES),
    tif_palette=saved(picture('P'), 'TIFF'),
    tif_bits=saved(picture('1'), 'TIFF'),
    tif_cmyk=saved(picture('CMYK'), 'TIFF'),
    tif_lab=saved(picture('LAB'), 'TIFF'),
    tif_ycbcr=saved(picture('YCbCr'), 'TIFF'),
    ppm=saved(COLOR, 'PPM'),
    pgm=saved(COLOR[..., 0], 'PPM'),
    gif=saved(picture('P'), 'GIF'),
    one_pixel=saved(COLOR[:1, :1], 'PNG'),
    line=saved(np.zeros((1, 5000, 3), np.uint8), 'PNG'),
)


@pytest.mark.parametrize('color', ['color', 'grayscale', 'color_ignore_orientation'])
@pytest.mark.parametrize('kind', ORDINARY)
def test_pixels_of_eight_bits_are_those_of_mmcv(tmp_path, kind, color):
    if kind == 'gif' and not cv2_reads(ORDINARY['gif']):
        pytest.skip(f'OpenCV {cv2.__version__} reads no GIF files')
    theirs = LoadImageFromFile(color_type=color)
    expected = load(tmp_path, ORDINARY[kind], transform=theirs)
    found = load(tmp_path, ORDINARY[kind], color_type=color)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.uint8


def test_other_settings_are_those_of_mmcv(tmp_path):
    for settings in (
        dict(imdecode_backend='pillow'),
        dict(to_float32=True),
        dict(color_type='unchanged'),
        dict(backend_args=dict(backend='local')),
    ):
        for kind in ('jpg_turned', 'png_rgba'):
            theirs = LoadImageFromFile(**settings)
            expected = load(tmp_path, ORDINARY[kind], transform=theirs)
            found = load(tmp_path, ORDINARY[kind], **settings)
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == expected.dtype


def scaled(values, largest):
    return np.rint(values.astype(np.float64) * 255 / largest)


FLOATS = RANDOM.rand(9, 12).astype(np.float32)
INT32 = RANDOM.randint(0, 2**31 - 1, (9, 12)).astype(np.int32)
INT16 = (GRAY16 // 2).astype(np.int16)
DEEP = dict(
    png=(encoded(GRAY16, '.png'), scaled(GRAY16, 65535)),
    png_color=(encoded(COLOR16, '.png'), scaled(COLOR16, 65535)),
    tif=(tiff(GRAY16, 16), scaled(GRAY16, 65535)),
    tif_color=(tiff(COLOR16, 16, 1, 2, 3), scaled(COLOR16[..., ::-1], 65535)),
    tif_packed=(encoded(COLOR16, '.tif'), scaled(COLOR16, 65535)),
    tif_int16=(tiff(INT16, 16, 2), scaled(INT16, 2**15 - 1)),
    tif_int32=(tiff(INT32, 32, 2), scaled(INT32, 2**31 - 1)),
    tif_float=(tiff(FLOATS, 32, 3), scaled(FLOATS, 1)),
    tif_float_zero=(tiff(FLOATS * 0, 32, 3), FLOATS * 0),
    pgm=(encoded(GRAY16, '.pgm'), scaled(GRAY16, 65535)),
    pgm_12_bits=(
        b'P5 12 9 4095\n' + (GRAY16 >> 4).astype('>u2').tobytes(),
        scaled(GRAY16 >> 4, 4095),
    ),
    pgm_4_bits=(
        b'P5 12 9 15\n' + (GRAY16 >> 12).astype(np.uint8).tobytes(),
        scaled(GRAY16 >> 12, 15),
    ),
    ppm=(encoded(COLOR16, '.ppm'), scaled(COLOR16, 65535)),
    png_black=(encoded(GRAY16 * 0, '.png'), GRAY16 * 0),
)


@pytest.mark.parametrize('kind', DEEP)
def test_other_values_are_scaled_by_their_range(tmp_path, kind):
    content, expected = DEEP[kind]
    found = load(tmp_path, content)
    assert found.shape == (9, 12, 3) and found.dtype == np.uint8
    expected = expected if expected.ndim == 3 else expected[..., None]
    assert np.abs(found - np.broadcast_to(expected, found.shape)).max() <= 1
    assert load(tmp_path, content, color_type='grayscale').shape == (9, 12)


def with_chunk(png, kind, content):
    chunk = struct.pack('>I', len(content)) + kind + content
    chunk += struct.pack('>I', zlib.crc32(kind + content))
    return png[:33] + chunk + png[33:]


def test_bits_that_are_declared(tmp_path):
    values = GRAY16 >> 4
    content = encoded(values, '.png')
    for found in (
        load(tmp_path, content, bit_depth=12),
        load(tmp_path, with_chunk(content, b'sBIT', b'\x0c')),
    ):
        assert np.abs(found[..., 0] - scaled(values, 4095)).max() <= 1
    # as the standard wants it: scaled to 16 bits, the upper bits repeated below
    full = with_chunk(encoded(values << 4 | values >> 8, '.png'), b'sBIT', b'\x0c')
    found = load(tmp_path, full)
    assert np.abs(found[..., 0] - scaled(values, 4095)).max() <= 1
    with pytest.raises(ValueError, match='the value .* is over 4095'):
        load(tmp_path, encoded(GRAY16, '.png'), bit_depth=12)


def test_orientation_of_deep_images(tmp_path):
    turned = saved(Image.fromarray(GRAY16), 'TIFF', exif=exif(6))
    assert load(tmp_path, turned).shape == (12, 9, 3)
    plain = saved(Image.fromarray(COLOR[..., 0]), 'TIFF', exif=exif(6))
    assert load(tmp_path, plain).shape == (12, 9, 3)


def bomb(width, height):
    head = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    png = b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + b'IHDR' + head
    return png + struct.pack('>I', zlib.crc32(b'IHDR' + head)) + b'\0\0\0\0IDAT'


NAN = np.where(FLOATS > 0.5, np.nan, FLOATS)
REFUSED = dict(
    empty=(b'', 'empty'),
    text=(b'this is no image', 'no image'),
    html=(b'<!DOCTYPE html><html>', 'no image'),
    cut_head=(ORDINARY['jpg'][:10], 'no image|cannot'),
    cut_png=(ORDINARY['png'][:60], 'cannot decode'),
    bomb=(bomb(30000, 30000), '900000000 pixels'),
    small_bomb=(bomb(15000, 12000), '180000000 pixels'),
    dark_12_bits=(encoded(GRAY16 >> 4, '.png'), 'bit_depth=12 or more'),
    dark_color=(encoded(COLOR16 >> 6, '.png'), 'bit_depth=10 or more'),
    int32_of_8_bits=(tiff(INT32 % 256, 32, 2), 'int32.*bit_depth=8'),
    negative=(tiff(-INT16, 16, 2), 'negative'),
    int8=(tiff(COLOR[..., 0], 8, 2), '8 bits .signed'),
    uint32=(tiff(INT32, 32, 1), '32 bits .unsigned'),
    float64=(tiff(FLOATS.astype(np.float64), 64, 3), 'kind that is not read'),
    float16=(tiff(FLOATS.astype(np.float16), 16, 3), 'TIFF'),
    int64=(tiff(INT32.astype(np.int64), 64, 2), 'kind that is not read'),
    complex=(tiff(FLOATS.astype(np.complex64), 64, 6), 'kind that is not read'),
    float_255=(tiff(FLOATS * 255, 32, 3), '0 to 1'),
    float_nan=(tiff(NAN, 32, 3), '0 to 1'),
    float_negative=(tiff(FLOATS - 1, 32, 3), '0 to 1'),
    white_is_0=(tiff(GRAY16, 16, 1, 0), 'photometric'),
    planes=(tiff(COLOR16, 16, 1, 2, 3, planar=2), 'separate planes'),
    cut_tiff=(tiff(GRAY16, 16)[:40], 'TIFF'),
)


@pytest.mark.parametrize('kind', REFUSED)
def test_what_would_come_out_wrong_is_refused_by_name(tmp_path, kind, capfd):
    content, reason = REFUSED[kind]
    with pytest.raises(ValueError, match=reason) as error:
        load(tmp_path, content)
    message = str(error.value)
    assert message.startswith(str(tmp_path)) and '\n' not in message
    loader = LoadImage(ignore_empty=True)
    assert loader({'img_path': str(tmp_path / 'image')}) is None


def test_the_limit_of_pixels(tmp_path):
    assert MAX_PIXELS * 3 < 10**9
    assert load(tmp_path, ORDINARY['png'], max_pixels=108).shape == (9, 12, 3)
    with pytest.raises(ValueError, match='12 x 9 = 108 pixels'):
        load(tmp_path, ORDINARY['png'], max_pixels=107)


def test_arguments():
    for wrong in (dict(bit_depth=7), dict(bit_depth=33), dict(max_pixels=0)):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            LoadImage(**wrong)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='gone.png'):
        LoadImage()({'img_path': str(tmp_path / 'gone.png')})


def test_a_folder_is_no_image(tmp_path):
    with pytest.raises(OSError, match='x.png: Is a directory') as caught:
        (tmp_path / 'x.png').mkdir()
        LoadImage()({'img_path': str(tmp_path / 'x.png')})
    assert is_told(caught.value)


def test_it_is_found_from_every_library():
    assert TRANSFORMS.get('LoadImage') is LoadImage
    sample = {'img': COLOR}  # as an inferencer of mmpretrain gives it
    assert LoadImage()(sample) is sample
