import dataclasses

import pytest

from dseq_mm.regions import RegionRule


@pytest.mark.parametrize(
    ('num_patches', 'num_regions', 'sizes'),
    [
        (196, 5, (30, 39)),  # ceil(0.15 * 196), floor(0.2 * 196)
        (784, 5, (118, 156)),
        (36, 5, (7, 7)),  # 10 patches would not fit five times
        (196, 7, (28, 39)),
        (49, 2, (10, 10)),  # at least 10 patches
        (9, 2, (4, 4)),
        (5, 5, (1, 1)),
        (100, 5, (15, 20)),  # 0.15 * 100 and 0.2 * 100 are whole
        (60, 5, (10, 12)),
    ],
)
def test_sizes(num_patches, num_regions, sizes):
    assert RegionRule(num_regions=num_regions).sizes(num_patches) == sizes


def test_shares_do_not_lose_a_patch_to_rounding():
    rule = RegionRule(num_regions=3, min_area=0.07, max_area=0.29, min_patches=1)
    assert rule.sizes(100) == (7, 29)  # 7.000000000000001 and 28.999999999999996


def test_more_regions_than_patches():
    with pytest.raises(ValueError, match='fewer regions, a larger image or smaller'):
        RegionRule(num_regions=5).sizes(4)


@pytest.mark.parametrize(
    ('option', 'match'),
    [
        (dict(num_regions=1), 'num_regions=1 of RegionRule: .* from 2'),
        (dict(num_regions=2.5), 'num_regions=2.5'),
        (dict(min_area=0.0), 'min_area'),
        (dict(min_area=0.3, max_area=0.2), 'min_area <= max_area'),
        (dict(max_area=1.0), 'max_area'),
        (dict(min_patches=0), 'min_patches'),
        (dict(aspect=(1.5, 0.75)), 'aspect'),
        (dict(aspect=(0.0, 1.5)), 'aspect'),
        (dict(aspect=(1.0,)), 'aspect'),
    ],
)
def test_bad_options(option, match):
    with pytest.raises(ValueError, match=match):
        RegionRule(**option)


def test_a_rule_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RegionRule().num_regions = 3
