import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dseq_mm.data import digit_scenes as ds

CHECKSUM = '7d52902309d0108f97674db2348084457112220a42d9b8b0d29d1f501eba68ee'


@pytest.fixture(scope='module')
def scans():
    return ds.load_scans('train')


def scenes(scans, number, size=96):
    for index in range(number):
        yield ds.render_scene(*scans, size, ds.sample_rng(0, 'scenes', 'train', index))


def test_splits_share_no_scan_and_cover_all():
    from sklearn.datasets import load_digits

    train, val = (ds.load_scans(split) for split in ds.SPLITS)
    everything = load_digits().images.astype(np.int64)
    assert len(train[0]) + len(val[0]) == len(everything) == 1797
    of_train, of_val, of_all = (
        {scan.tobytes() for scan in part} for part in (train[0], val[0], everything)
    )
    assert not of_train & of_val
    assert of_train | of_val == of_all
    for _, labels in (train, val):
        counts = np.bincount(labels, minlength=10)
        assert counts.max() <= 1.1 * counts.min()
    assert 0.18 < len(val[0]) / 1797 < 0.2


def test_unknown_split():
    with pytest.raises(ValueError, match='split must be one of'):
        ds.load_scans('test')


def test_missing_scikit_learn_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'sklearn.datasets', None)
    with pytest.raises(ImportError, match='pip install scikit-learn'):
        ds.load_scans('train')


@pytest.mark.slow
def test_package_imports_without_scikit_learn():
    code = (
        'import sys; sys.modules["sklearn"] = None; import dseq_mm.data; '
        'assert not any(m.startswith("sklearn.") for m in sys.modules)'
    )
    subprocess.run([sys.executable, '-c', code], check=True)


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    target=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    seed=st.integers(0, 999),
)
@settings(deadline=None, max_examples=50)
def test_resize_is_bilinear(shape, target, seed):
    values = np.random.RandomState(seed).randint(0, 256, shape)
    expected = np.empty(target)
    for i, j in np.ndindex(*target):  # pixel centers, edges repeated
        y = min(max((i + 0.5) * shape[0] / target[0] - 0.5, 0), shape[0] - 1)
        x = min(max((j + 0.5) * shape[1] / target[1] - 0.5, 0), shape[1] - 1)
        y0, x0 = int(y), int(x)
        y1, x1 = min(y0 + 1, shape[0] - 1), min(x0 + 1, shape[1] - 1)
        top = values[y0, x0] * (1 - x + x0) + values[y0, x1] * (x - x0)
        bottom = values[y1, x0] * (1 - x + x0) + values[y1, x1] * (x - x0)
        expected[i, j] = top * (1 - y + y0) + bottom * (y - y0)
    result = ds.resize(values, *target)
    assert np.issubdtype(result.dtype, np.integer)
    assert (np.abs(result - (expected - 0.5)) <= 0.5 + 1e-9).all()  # rounded down


def test_pixels_are_the_same_on_every_machine(scans):
    digest = hashlib.sha256()
    for index in range(20):
        rng = ds.sample_rng(7, 'digits', 'val', index)
        digest.update(ds.render_digit(scans[0][index], 24, rng)[0].tobytes())
    for scene in scenes(scans, 5):
        for part in (scene.image, ds.segmentation_map(scene)):
            digest.update(part.tobytes())
    assert digest.hexdigest() == CHECKSUM


def test_digit_contrasts_with_its_ground(scans):
    contrast = []
    for index in range(100):
        rng = ds.sample_rng(0, 'digits', 'train', index)
        image, mask = ds.render_digit(np.full((8, 8), 16), 24, rng)  # all ink: a square
        assert image.shape == (24, 24, 3) and image.dtype == np.uint8
        state = ds.sample_rng(0, 'digits', 'train', index)
        blank, nothing = ds.render_digit(np.zeros((8, 8), int), 24, state)
        square = (image != blank).any(2)
        assert (mask == square).all() and not nothing.any()
        side = np.flatnonzero(square.any(1))
        assert 20 <= side[-1] + 1 - side[0] <= 24
        contrast.append(image[square].mean() - blank[square].mean())
    assert min(contrast) > 30  # light ink on dark ground


def test_scene_masks_are_the_visible_ink(scans):
    counts, distances = [], []
    for scene in scenes(scans, 300):
        assert scene.image.shape == (96, 96, 3) and scene.image.dtype == np.uint8
        assert len(scene.masks) == len(scene.labels) < ds.COUNT_CLASSES
        assert scene.masks.sum(0).max(initial=0) <= 1
        assert all(mask.any() for mask in scene.masks)
        labels = np.ones((96, 96), int)
        for mask, label in zip(scene.masks, scene.labels, strict=True):
            labels[mask] = 2 + label
        np.testing.assert_array_equal(ds.segmentation_map(scene), labels)
        counts.append(len(scene.labels))
        distances.append(scene.distance)
    counts = np.bincount(counts, minlength=ds.COUNT_CLASSES)
    assert 1 <= counts[0] <= 15  # about 2 % are empty
    assert counts[1:].min() >= 15
    distances = np.bincount(distances, minlength=ds.DISTANCE_CLASSES)
    assert len(distances) == ds.DISTANCE_CLASSES and distances.min() >= 25


def test_paint_shows_the_nearest_digit_where_inks_overlap(monkeypatch, scans):
    monkeypatch.setattr(ds, 'scan_ink', lambda scan, size: np.full((size, size), 255))
    colors = []
    draw = ds.draw_color
    monkeypatch.setattr(
        ds, 'draw_color', lambda *args: colors.append(draw(*args)) or colors[-1]
    )
    overlaps = 0
    for scene in scenes(scans, 40):
        # the first color is the ground's; a digit left out has drawn its color too
        ink = [color for color in colors[1:]]
        colors.clear()
        if len(ink) != len(scene.masks):
            continue
        for color, mask in zip(ink, scene.masks, strict=True):
            assert (scene.image[mask] == color).all()
        side = [np.ptp(np.argwhere(mask), axis=0).max() + 1 for mask in scene.masks]
        overlaps += any(
            mask.sum() < s * s for mask, s in zip(scene.masks, side, strict=True)
        )
    assert overlaps > 5


def test_distance_classes_are_even_bins_of_the_size():
    smallest, largest = ds.scene_sizes(96)
    classes = [ds.distance_class(side, 96) for side in range(smallest, largest + 1)]
    assert classes == sorted(classes, reverse=True)
    counts = np.bincount(classes)
    assert len(counts) == ds.DISTANCE_CLASSES and np.ptp(counts) <= 1


def test_sample_rng_depends_on_each_part_of_its_key():
    keys = [(0, 'digits', 'train', 0), (1, 'digits', 'train', 0)]
    keys += [(0, 'scenes', 'train', 0), (0, 'digits', 'val', 0)]
    keys += [(0, 'digits', 'train', 1)]
    draws = {ds.sample_rng(*key).randint(2**31) for key in keys}
    assert len(draws) == len(keys)
