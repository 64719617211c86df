import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from dseq_mm.regions import (
    RegionRule,
    Source,
    normalize_saliency,
    select_regions,
)
from dseq_mm.regions.search import otsu_threshold
from tests.oracles.regions import Selector
from tests.regions.maps import coarse_maps, random_regions, smooth_maps, uniforms

SALIENT = (Source.COMPONENT, Source.SPLIT, Source.SECONDARY)
RULES = {
    'default': dict(),
    'three regions': dict(num_regions=3),
    'seven regions': dict(num_regions=7),
    'no split': dict(split=False),
    'no secondary': dict(secondary=False),
    'paper': dict(split=False, secondary=False),
    'released': dict(released=True),
    'small regions': dict(min_area=0.03, max_area=0.06, min_patches=2, num_regions=9),
    'even sizes': dict(min_area=0.2, max_area=0.2),
}


@pytest.mark.parametrize('name', RULES)
@pytest.mark.parametrize('grid', [(14, 14), (5, 9), (6, 6), (4, 3)])
def test_against_oracle(name, grid):
    rule = RegionRule(**RULES[name])
    maps = [smooth_maps(5, grid, sigma) for sigma in (0, 0.7, 1, 2)]
    maps = torch.cat([*maps, coarse_maps(5, grid, 2), coarse_maps(5, grid, 9)])
    draws = uniforms(len(maps), rule.num_regions - 1, 4)
    regions = select_regions(maps, rule, draws)
    for row in range(len(maps)):
        selector = Selector(maps[row], rule, draws[row].tolist())
        rank, source = selector.select()
        assert (rank == regions.rank[row].numpy()).all(), row
        assert source == regions.source[row].tolist()
        assert selector.degenerate == bool(regions.degenerate[row])


cases = st.fixed_dictionaries(
    dict(
        grid=st.tuples(st.integers(3, 28), st.integers(3, 40)),
        num_regions=st.integers(2, 5),
        sigma=st.sampled_from([0, 0.5, 1, 2, 4]),
        values=st.sampled_from([None, 2, 3, 20]),
        seed=st.integers(0, 2**16),
    )
)


def make_case(grid, num_regions, sigma, values, seed):
    maps = smooth_maps(4, grid, sigma, seed)
    if values:
        maps = coarse_maps(4, grid, values, seed)
    return maps, RegionRule(num_regions), uniforms(4, num_regions - 1, 4, seed=seed)


@settings(deadline=None, max_examples=60)
@given(case=cases)
def test_invariants(case):
    maps, rule, draws = make_case(**case)
    regions = select_regions(maps, rule, draws)
    low, high = rule.sizes(maps[0].numel())
    last = rule.num_regions - 1
    values, _ = normalize_saliency(maps)
    for rank, source, value in zip(
        regions.rank, regions.source.tolist(), values.double(), strict=True
    ):
        masks = [rank == k for k in range(rule.num_regions)]
        # a partition into N regions of the allowed sizes
        assert sum(masks).eq(1).all() and masks[last].any()
        assert all(low <= mask.sum() <= high for mask in masks[:last])
        # regions of the map, then random ones, then the rest
        assert source[last] == Source.REST
        salient = [code in SALIENT for code in source[:last]]
        assert salient == sorted(salient, reverse=True)
        assert all(code in SALIENT or code == Source.RANDOM for code in source[:last])
        # by mean saliency, ties by lowest patch index; each one connected
        found = masks[: sum(salient)]
        means = [value[mask].mean() for mask in found]
        assert all(a >= b - 1e-12 for a, b in zip(means, means[1:], strict=False))
        for mask in found:
            assert ndimage.label(mask.numpy(), [[1] * 3] * 3)[1] == 1


@settings(deadline=None, max_examples=25)
@given(case=cases)
def test_first_stages_stay_above_the_first_threshold(case):
    maps, rule, draws = make_case(**case)
    regions = select_regions(maps, rule, draws)
    levels = (normalize_saliency(maps)[0].flatten(1) * 255).long().numpy()
    everything = np.arange(levels.shape[1])
    thresholds = [otsu_threshold(row, everything, 255) for row in levels]
    foreground = torch.from_numpy(levels > np.array(thresholds)[:, None])
    foreground = foreground.view(maps.shape)
    for rank, source, above in zip(
        regions.rank, regions.source.tolist(), foreground, strict=True
    ):
        labels = torch.from_numpy(ndimage.label(above.numpy(), [[1] * 3] * 3)[0])
        for k, code in enumerate(source):
            region = rank == k
            if code in (Source.COMPONENT, Source.SPLIT):
                inside = labels[region].unique()
                assert len(inside) == 1 and inside > 0
                whole = (labels == inside).equal(region)
                assert whole == (code == Source.COMPONENT)


@settings(deadline=None, max_examples=15)
@given(case=cases, row=st.integers(0, 3))
def test_rows_do_not_influence_each_other(case, row):
    maps, rule, draws = make_case(**case)
    before = select_regions(maps, rule, draws)
    again = select_regions(maps, rule, draws)
    assert torch.equal(before.rank, again.rank)
    maps[row], draws[row] = maps[row].flip(0), 1 - draws[row] - 2**-24
    after = select_regions(maps, rule, draws)
    others = torch.arange(4) != row
    assert torch.equal(before.rank[others], after.rank[others])
    assert torch.equal(before.source[others], after.source[others])
    alone = select_regions(maps[row : row + 1], rule, draws[row : row + 1])
    assert torch.equal(alone.rank[0], after.rank[row])


@pytest.mark.parametrize('sigma', [1, 2, 3])
def test_most_regions_of_smooth_maps_come_from_saliency(sigma):
    maps, draws = smooth_maps(300, (14, 14), sigma), uniforms(300, 4, 4)
    found = select_regions(maps, RegionRule(), draws).source < Source.RANDOM
    assert found.sum(1).float().mean() >= 3.5
    released = select_regions(maps, RegionRule(released=True), draws)
    alone = (released.source == Source.COMPONENT).sum(1).float().mean()
    assert 0.9 <= alone <= 1.2
    assert (released.source[:, :4] != Source.COMPONENT).any()
    assert (released.source[:, 4] == Source.REST).all()


@pytest.mark.parametrize('num_regions', [2, 5, 7])
@pytest.mark.parametrize('value', [0.0, 3.0, float('nan'), float('inf'), float('-inf')])
def test_degenerate_maps_give_random_regions(value, num_regions):
    rule = RegionRule(num_regions=num_regions)
    maps, draws = smooth_maps(3, (14, 14), 2), uniforms(3, num_regions - 1, 4)
    maps[1] = value
    regions = select_regions(maps, rule, draws)
    assert regions.degenerate.tolist() == [False, True, False]
    random = random_regions(3, (14, 14), rule, draws)
    assert torch.equal(regions.rank[1], random.rank[1])
    assert torch.equal(regions.source[1], random.source[1])
    assert (regions.source[0] != Source.RANDOM).sum() >= 2


def test_one_bad_patch_makes_a_map_degenerate():
    maps, draws = smooth_maps(2, (14, 14), 2), uniforms(2, 4, 4)
    maps[0, 3, 3] = float('nan')
    regions = select_regions(maps, RegionRule(), draws)
    assert regions.degenerate.tolist() == [True, False]
    assert (regions.source[0, :4] == Source.RANDOM).all()


def test_degenerate_map_under_the_released_rule_is_all_rest():
    regions = select_regions(
        torch.ones(1, 6, 6), RegionRule(released=True), uniforms(1, 4, 4)
    )
    assert (regions.rank == 4).all() and regions.degenerate.all()
    assert regions.source.tolist() == [[Source.EMPTY] * 4 + [Source.REST]]


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_maps(dtype):
    maps, draws = smooth_maps(20, (14, 14), 2).to(dtype), uniforms(20, 4, 4)
    regions = select_regions(maps, RegionRule(), draws)
    assert torch.equal(
        regions.rank, select_regions(maps.float(), RegionRule(), draws).rank
    )


def test_results_can_take_part_in_training():
    maps = smooth_maps(2, (6, 6), 1).requires_grad_()
    regions = select_regions(maps, RegionRule(), uniforms(2, 4, 4))
    weight = torch.ones(2, 36, requires_grad=True)
    weight.gather(1, regions.rank.flatten(1)).sum().backward()
    assert weight.grad.sum() == 72


def test_more_regions_than_patches():
    with pytest.raises(ValueError, match='fewer regions'):
        select_regions(torch.rand(1, 2, 2), RegionRule(), torch.rand(1, 4, 4))
