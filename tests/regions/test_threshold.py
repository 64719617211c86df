import cv2
import numpy as np
import pytest

from dseq_mm.regions import RegionRule
from dseq_mm.regions.search import otsu_threshold
from tests.oracles.regions import Selector


def threshold(levels, ceiling=255):
    levels = np.asarray(levels)
    return otsu_threshold(levels, np.arange(levels.size), ceiling)


def oracle(levels):
    """Threshold of a list of levels, and whether another split ties with it."""
    selector = Selector([[0.0, 1.0]], RegionRule(num_regions=2), None)
    selector.levels = levels
    return selector.otsu(range(len(levels))), selector.near_ties > 0


@pytest.mark.parametrize('top', [2, 4, 30, 256])
@pytest.mark.parametrize('kind', [np.int64, np.uint8])
def test_against_oracle(top, kind):
    random = np.random.RandomState(top)
    for _ in range(60):
        levels = random.randint(top, size=49).astype(kind)
        segment = np.flatnonzero(random.rand(49) < random.rand())
        expected = oracle(levels[segment].tolist())[0]
        assert otsu_threshold(levels, segment, 255) == expected


def test_patches_above_the_ceiling_have_no_say():
    random = np.random.RandomState(0)
    for _ in range(60):
        levels, ceiling = random.randint(256, size=49), random.randint(256)
        expected = oracle(levels[levels <= ceiling].tolist())[0]
        assert threshold(levels, ceiling) == expected


def test_opencv_has_the_same_foreground():
    random = np.random.RandomState(0)
    for _ in range(200):
        levels = random.randint(256, size=random.randint(1, 49)).astype(np.uint8)
        mode = cv2.THRESH_BINARY + cv2.THRESH_OTSU
        theirs = cv2.threshold(levels, 0, 255, mode)[0]
        if ((levels > threshold(levels)) != (levels > theirs)).any():
            assert oracle(levels.tolist())[1], 'differs without a tie'


@pytest.mark.parametrize('levels', [[7, 7], [0, 0, 0], [255, 255, 255], []])
def test_nothing_to_split_gives_zero(levels):
    assert threshold(np.array(levels, dtype=np.int64)) == 0


def test_ties_take_the_lowest():
    # symmetric: splitting after 0 and after 10 is equally good
    assert threshold([0, 10, 20]) == 0


def test_large_counts_stay_exact():
    # n * mass passes 2 ** 32, its square 2 ** 64
    assert threshold([250] * 9000 + [255] * 9001) == 250
