import pytest
import torch

from dseq_mm.models.mask_generators.order import order_regions
from tests.regions.maps import uniforms

RANK = torch.tensor([[[0, 0, 1], [2, 3, 1], [2, 3, 3]]])


def test_discriminative_and_inverse():
    draws = torch.zeros(1, 4)
    assert torch.equal(order_regions(RANK, 'discriminative', 4, draws), RANK)
    assert torch.equal(order_regions(RANK, 'inverse', 4, draws), 3 - RANK)


def test_spatial_goes_by_row_then_column():
    # relabeled so that ranks do not follow the raster: rows of the centroids are
    # 0 (old 3), 0.5 (old 1), 1.5 (old 0), 5/3 (old 2)
    rank = torch.tensor([3, 1, 0, 2])[RANK]
    ordered = order_regions(rank, 'spatial', 4, torch.zeros(1, 4))
    assert torch.equal(ordered, RANK)
    columns = torch.tensor([[[2, 0, 1]]])
    ordered = order_regions(columns, 'spatial', 3, torch.zeros(1, 3))
    assert ordered.tolist() == [[[0, 1, 2]]]


def test_random_permutes_all_ranks_of_each_image():
    count = 400
    ranks = RANK.expand(count, -1, -1)
    ordered = order_regions(ranks, 'random', 4, uniforms(count, 4))
    permutations = set()
    for new in ordered:
        pairs = set(zip(RANK.flatten().tolist(), new.flatten().tolist(), strict=True))
        assert len(pairs) == 4  # one new rank for each old one
        permutations.add(tuple(sorted(pairs)))
    assert len(permutations) == 24
    again = order_regions(ranks[:3], 'random', 4, uniforms(count, 4)[:3])
    assert torch.equal(again, ordered[:3])


@pytest.mark.parametrize('order', ['inverse', 'random', 'spatial'])
def test_empty_ranks_stay_empty(order):
    rank = torch.tensor([[[4, 4, 0], [4, 4, 0]]])  # 1, 2, 3 are empty
    ordered = order_regions(rank, order, 5, uniforms(1, 5))
    assert len(ordered.unique()) == 2
    assert (ordered == ordered[0, 0, 0]).equal(rank == 4)
    if order == 'spatial':
        assert ordered.tolist() == [[[0, 0, 1], [0, 0, 1]]]


def test_unknown_order():
    with pytest.raises(ValueError, match='discriminative, inverse, random, spatial'):
        order_regions(RANK, 'alphabetic', 4, torch.zeros(1, 4))
