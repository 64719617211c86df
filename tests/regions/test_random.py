import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dseq_mm.regions import (
    RegionRule,
    Source,
    replace_regions,
    select_regions,
)
from tests.oracles.regions import Selector
from tests.regions.maps import random_regions, smooth_maps, uniforms


def sizes_of(rank, num_regions):
    return torch.stack([(rank == k).sum((1, 2)) for k in range(num_regions)], dim=1)


@pytest.mark.parametrize(
    ('grid', 'num_regions'), [((14, 14), 5), ((6, 6), 5), ((3, 4), 4), ((14, 14), 7)]
)
def test_random_regions_against_oracle(grid, num_regions):
    rule = RegionRule(num_regions=num_regions)
    draws = uniforms(30, num_regions - 1, 4, seed=1)
    regions = random_regions(30, grid, rule, draws)
    assert (regions.source[:, :-1] == Source.RANDOM).all()
    assert (regions.source[:, -1] == Source.REST).all()
    assert regions.degenerate.all()
    for row, rank in enumerate(regions.rank):
        selector = Selector(torch.zeros(grid), rule, draws[row].tolist())
        filled = selector.fill([None] * (num_regions - 1))
        assert (selector.rank_map(filled) == rank.numpy()).all()


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(3, 28),
    width=st.integers(3, 40),
    num_regions=st.integers(2, 7),
    extreme=st.sampled_from([None, 0.0, 1 - 2**-24]),
    seed=st.integers(0, 2**16),
)
def test_random_regions_always_fit(height, width, num_regions, extreme, seed):
    rule = RegionRule(num_regions=num_regions)
    draws = uniforms(4, num_regions - 1, 4, seed=seed)
    if extreme is not None:
        draws[:] = extreme  # all blocks at the same place
    regions = random_regions(4, (height, width), rule, draws)
    low, high = rule.sizes(height * width)
    sizes = sizes_of(regions.rank, num_regions)
    assert (sizes[:, :-1] >= low).all() and (sizes[:, :-1] <= high).all()
    assert (sizes[:, -1] >= 1).all()


def test_blocks_reach_every_patch_and_keep_their_shape():
    rule = RegionRule(num_regions=2, aspect=(1.0, 1.0), min_area=0.16, max_area=0.16)
    draws = uniforms(2000, 1, 4)
    block = random_regions(2000, (10, 10), rule, draws).rank == 0  # (B, H, W)
    assert (block.sum((1, 2)) == 16).all()
    assert (block.any(2).sum(1) == 4).all() and (block.any(1).sum(1) == 4).all()
    share = block.float().mean(0)
    assert share[0, 0] > 0 and share[-1, -1] > 0
    # each of 7 x 7 places is equally likely, and the corners lie in one of them
    assert abs(share[0, 0] - 1 / 49) < 0.015 and abs(share[-1, -1] - 1 / 49) < 0.015


def test_replace_keeps_what_is_kept():
    rule = RegionRule()
    maps, draws = smooth_maps(60, (14, 14), 2), uniforms(60, 4, 4)
    regions = select_regions(maps, rule, draws)
    keep = uniforms(60, 4, seed=3) < 0.5
    new = replace_regions(regions, keep, rule, uniforms(60, 4, 4, seed=4))
    low, high = rule.sizes(196)
    sizes = sizes_of(new.rank, 5)
    assert (sizes[:, :4] >= low).all() and (sizes[:, :4] <= high).all()
    assert (sizes[:, 4] >= 1).all()
    for rank in range(4):
        same = (new.rank == rank) == (regions.rank == rank)
        assert same[keep[:, rank]].all()
        assert (new.source[~keep[:, rank], rank] == Source.RANDOM).all()
    assert torch.equal(new.source[:, :4][keep], regions.source[:, :4][keep])


def test_replace_against_oracle():
    rule = RegionRule(num_regions=4)
    maps, draws = smooth_maps(20, (8, 9), 1), uniforms(20, 3, 4, seed=5)
    regions = select_regions(maps, rule, draws)
    keep = uniforms(20, 3, seed=6) < 0.5
    new = replace_regions(regions, keep, rule, draws)
    for row in range(20):
        flat = regions.rank[row].flatten()
        kept = [
            set((flat == rank).nonzero().flatten().tolist())
            if keep[row, rank]
            else None
            for rank in range(3)
        ]
        selector = Selector(maps[row], rule, draws[row].tolist())
        expected = selector.rank_map(selector.fill(kept))
        assert (expected == new.rank[row].numpy()).all()


def test_replace_nothing_and_everything():
    rule = RegionRule()
    maps, draws = smooth_maps(8, (14, 14), 2), uniforms(8, 4, 4)
    regions = select_regions(maps, rule, draws)
    everything = torch.ones(8, 4, dtype=torch.bool)
    same = replace_regions(regions, everything, rule, draws)
    assert torch.equal(same.rank, regions.rank)
    assert torch.equal(same.source, regions.source)
    none = replace_regions(regions, ~everything, rule, draws)
    assert torch.equal(none.rank, random_regions(8, (14, 14), rule, draws).rank)


def test_blocks_fit_beside_a_released_region_that_leaves_too_little():
    rule = RegionRule(released=True)
    maps = torch.ones(1, 14, 14)
    maps[0, :2] = 0.0  # one component of 168 patches, 28 are left for four regions
    draws = uniforms(1, 4, 4)
    regions = select_regions(maps, rule, draws)
    assert (regions.rank == 0).sum() == 168
    keep = torch.tensor([[True, False, False, False]])
    sizes = sizes_of(replace_regions(regions, keep, rule, draws).rank, 5)[0]
    assert sizes[0] == 168 and (sizes[1:] >= 1).all()
