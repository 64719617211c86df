import numpy as np
import pytest
import torch
from mmpretrain.datasets.transforms import RandomResizedCrop
from PIL import Image

from dseq_mm.data import AntialiasedResizedCrop
from dseq_mm.data.resized_crop import resize


def photograph(height, width, seed=0):
    """Smooth shapes and grain."""
    random = np.random.RandomState(seed)
    small = random.randint(0, 256, (4, 4, 3)).astype(np.uint8)
    large = np.asarray(Image.fromarray(small).resize((width, height), 3), dtype=float)
    return (large + random.normal(0, 12, large.shape)).clip(0, 255).astype(np.uint8)


def transformed(kind, image, seed, **options):
    np.random.seed(seed)
    transform = kind(**options)
    return transform(dict(img=image.copy(), img_shape=image.shape[:2]))


@pytest.mark.parametrize('size', [(300, 400), (60, 200), (20, 24)])
@pytest.mark.parametrize('scale', [(64, 96), 48])
def test_the_hosts_crops_and_pixels(size, scale):
    image = photograph(*size)
    options = dict(scale=scale, crop_ratio_range=(0.3, 1.0))
    for seed in range(4):
        ours = transformed(AntialiasedResizedCrop, image, seed, **options)
        theirs = transformed(
            RandomResizedCrop, image, seed, **options, backend='pillow'
        )
        assert ours['img_shape'] == theirs['img_shape'] == ours['img'].shape
        assert ours['img'].dtype == np.uint8 and ours['img'].flags.c_contiguous
        difference = ours['img'].astype(int) - theirs['img'].astype(int)
        assert abs(difference).max() <= 1


@pytest.mark.parametrize('shape', [(40, 30), (40, 30, 3), (40, 30, 1)])
def test_against_pillow_by_channel(shape):
    image = np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)
    made = resize(image, (16, 20))
    assert made.shape == (16, 20, *shape[2:])
    for channel in range(image.reshape(40, 30, -1).shape[2]):
        plane = Image.fromarray(image.reshape(40, 30, -1)[..., channel])
        expected = np.asarray(plane.resize((20, 16), Image.Resampling.BILINEAR)).astype(
            int
        )
        ours = made.reshape(16, 20, -1)[..., channel].astype(int)
        assert abs(ours - expected).max() <= 1


def test_any_strides_and_types():
    image = photograph(50, 70)
    expected = resize(image, (24, 24))
    still = image.copy()
    still.flags.writeable = False
    mirrored = image[:, ::-1].copy()[:, ::-1]
    padded = np.pad(image, ((3, 3), (5, 5), (0, 0)))[3:-3, 5:-5]
    for same in (still, mirrored, padded, np.asfortranarray(image)):
        assert (resize(same, (24, 24)) == expected).all()
    exact = resize(image.astype(np.float32), (24, 24))
    assert exact.dtype == np.float32 and abs(exact - expected).max() <= 1


def test_an_image_of_its_own_is_not_changed():
    image = photograph(50, 70)
    before = image.copy()
    made = resize(image, (50, 70))
    assert (made == before).all()
    made[:] = 0
    assert (image == before).all()


def test_another_interpolation_is_refused():
    with pytest.raises(
        ValueError, match="'bilinear', not 'bicubic'.*RandomResizedCrop"
    ):
        AntialiasedResizedCrop(scale=8, interpolation='bicubic')


def test_threads_change_nothing():
    image, before = photograph(200, 300), torch.get_num_threads()
    one = resize(image, (64, 64))
    torch.set_num_threads(2)
    try:
        assert (resize(image, (64, 64)) == one).all()
    finally:
        torch.set_num_threads(before)
