"""The same regions whatever computes them: OpenCV, or no look at any value."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dseq_mm.regions import (
    RegionRule,
    candidates,
    components,
    fill,
    growth,
    replace_regions,
    select_regions,
    selection,
)
from tests.oracles.regions import Selector
from tests.regions.maps import smooth_maps, uniforms


def assert_same_regions(maps, **options):
    """Compare the backends; a map may differ only where two Otsu splits tie."""
    ours, theirs = RegionRule(**options), RegionRule(**options, backend='opencv')
    draws = uniforms(len(maps), ours.num_regions - 1, 4)
    one, two = select_regions(maps, ours, draws), select_regions(maps, theirs, draws)
    differ = (one.rank != two.rank).flatten(1).any(1)
    differ |= (one.source != two.source).any(1)
    for row in differ.nonzero().flatten().tolist():
        selector = Selector(maps[row], ours, draws[row].tolist())
        selector.select()
        assert selector.near_ties, f'map {row} differs without a tie'
    assert differ.float().mean() <= 0.01


@pytest.mark.slow
@pytest.mark.parametrize('sigma', [0, 1, 2, 3])
def test_opencv_on_ten_thousand_maps(sigma):
    assert_same_regions(smooth_maps(2500, (14, 14), sigma))


@pytest.mark.parametrize('grid', [(6, 6), (9, 17), (28, 28)])
def test_opencv_on_other_grids(grid):
    maps = torch.cat([smooth_maps(25, grid, sigma) for sigma in (0, 1, 3)])
    assert_same_regions(maps)


@pytest.mark.parametrize(
    'options', [dict(released=True), dict(split=False), dict(num_regions=7)]
)
def test_opencv_with_other_rules(options):
    maps = torch.cat([smooth_maps(50, (14, 14), sigma) for sigma in (0, 1, 3)])
    assert_same_regions(maps, **options)


@pytest.fixture
def blind(monkeypatch):
    """Take the path of other devices, which looks at no value."""
    for module in (candidates, components, fill, growth, selection):
        monkeypatch.setattr(module, 'may_look', lambda x: False)


OPTIONS = [
    dict(),
    dict(num_regions=7),
    dict(split=False),
    dict(secondary=False),
    dict(released=True),
    dict(min_area=0.03, max_area=0.06, min_patches=2, num_regions=9),
]


@pytest.mark.parametrize('options', OPTIONS)
@pytest.mark.parametrize('grid', [(14, 14), (5, 7)])
def test_blind_path_gives_the_same(options, grid, request):
    rule = RegionRule(**options)
    maps = torch.cat([smooth_maps(8, grid, sigma) for sigma in (0, 1, 3)])
    maps[5] = float('nan')
    draws = uniforms(len(maps), rule.num_regions - 1, 4)
    keep = uniforms(len(maps), rule.num_regions - 1, seed=1) < 0.7
    seeing = select_regions(maps, rule, draws)
    replaced = replace_regions(seeing, keep, rule, draws)
    request.getfixturevalue('blind')
    unseeing = select_regions(maps, rule, draws)
    assert torch.equal(seeing.rank, unseeing.rank)
    assert torch.equal(seeing.source, unseeing.source)
    unseeing = replace_regions(unseeing, keep, rule, draws)
    assert torch.equal(replaced.rank, unseeing.rank)


@pytest.mark.slow
@pytest.mark.parametrize('options', OPTIONS)
def test_meta_tensors_prove_that_no_value_is_looked_at(options):
    rule = RegionRule(**options)
    maps = torch.empty(4, 14, 14, device='meta')
    draws = torch.empty(4, rule.num_regions - 1, 4, device='meta')
    regions = select_regions(maps, rule, draws)
    keep = torch.empty(4, rule.num_regions - 1, device='meta', dtype=torch.bool)
    regions = replace_regions(regions, keep, rule, draws)
    assert regions.rank.shape == (4, 14, 14)
    assert regions.source.shape == (4, rule.num_regions)


class CountOperations(TorchDispatchMode):
    """Count operations that compute something."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def test_number_of_operations_is_bounded(blind):
    maps, draws = smooth_maps(2, (14, 14), 1), uniforms(2, 4, 4)
    with CountOperations() as operations:
        select_regions(maps, RegionRule(), draws)
    assert operations.count < 5000
