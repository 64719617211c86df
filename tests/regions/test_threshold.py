import pytest
import torch

from dseq_mm.regions import RegionRule, otsu_threshold, quantize
from dseq_mm.regions.threshold import segment_thresholds
from tests.oracles.regions import Selector


def oracle_otsu(levels):
    """Threshold of a list of levels, and whether another split ties with it."""
    selector = Selector([[0.0, 1.0]], RegionRule(num_regions=2), None)
    selector.levels = levels
    return selector.otsu(range(len(levels))), selector.near_ties > 0


def test_quantize_truncates():
    values = torch.tensor([0.0, 0.999 / 255, 1.001 / 255, 254.9 / 255, 1.0])
    assert quantize(values).tolist() == [0, 0, 1, 254, 255]


@pytest.mark.parametrize('top', [2, 4, 30, 256])
def test_against_oracle(top):
    generator = torch.Generator().manual_seed(top)
    levels = torch.randint(0, top, (60, 49), generator=generator)
    mask = torch.rand(60, 49, generator=generator) < torch.rand(60, 1)
    for row, threshold in enumerate(otsu_threshold(levels, mask).tolist()):
        assert threshold == oracle_otsu(levels[row][mask[row]].tolist())[0]


def test_opencv_has_the_same_foreground():
    generator = torch.Generator().manual_seed(0)
    levels = torch.randint(0, 256, (200, 49), generator=generator)
    mask = torch.rand(200, 49, generator=generator) < torch.rand(200, 1)
    ours = mask & (levels > otsu_threshold(levels, mask)[:, None])
    theirs = mask & (levels > otsu_threshold(levels, mask, 'opencv')[:, None])
    for row in (ours != theirs).any(1).nonzero():
        assert oracle_otsu(levels[row][mask[row]].tolist())[1], 'differs without a tie'


@pytest.mark.parametrize('backend', ['torch', 'opencv'])
def test_nothing_to_split_gives_zero(backend):
    levels = torch.tensor([[7, 7, 9], [0, 0, 0], [255, 255, 255], [1, 2, 3]])
    mask = torch.ones(4, 3, dtype=torch.bool)
    mask[0, 2], mask[3] = False, False
    assert otsu_threshold(levels, mask, backend).tolist() == [0, 0, 0, 0]


def test_ties_take_the_lowest():
    # symmetric: splitting after 0 and after 10 is equally good
    levels = torch.tensor([[0, 10, 20]])
    assert otsu_threshold(levels, torch.ones(1, 3, dtype=torch.bool)).tolist() == [0]


@pytest.mark.parametrize('backend', ['torch', 'opencv'])
def test_segments_do_not_influence_each_other(backend):
    generator = torch.Generator().manual_seed(1)
    levels = torch.randint(0, 256, (20, 30), generator=generator)
    segments = torch.tensor([0, 3, 7, 30])[
        torch.randint(0, 4, (20, 30), generator=generator)
    ]
    thresholds = segment_thresholds(levels, segments, backend)
    assert (thresholds[segments == 30] == 0).all()
    for label in (0, 3, 7):
        mask = segments == label
        alone = otsu_threshold(levels, mask, backend)
        assert torch.equal(thresholds[mask], alone[:, None].expand(20, 30)[mask])


def test_large_counts_stay_exact():
    # n * mass passes 2 ** 32, its square 2 ** 64
    levels = torch.cat([torch.full((9000,), 250), torch.full((9001,), 255)])[None]
    mask = torch.ones_like(levels, dtype=torch.bool)
    assert otsu_threshold(levels, mask).tolist() == [250]
