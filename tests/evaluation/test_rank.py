"""Effective rank and spread on features whose values are known."""

import math

import pytest
import torch

from dseq_mm.evaluation.rank import feature_std, lidar, rank_me


def test_rank_of_known_spectra():
    basis = torch.linalg.qr(torch.randn(50, 6, dtype=torch.float64)).Q  # (50, 6)
    for values in ([1, 1, 1, 1, 1, 1], [3, 0, 0, 0, 0, 0], [4, 2, 1, 1, 0, 0]):
        features = basis * torch.tensor(values, dtype=torch.float64)
        share = [value / sum(values) for value in values if value]
        expected = math.exp(-sum(p * math.log(p) for p in share))
        assert rank_me(features) == pytest.approx(expected, abs=1e-6)
        assert rank_me(5 * features) == pytest.approx(expected, abs=1e-6)
    assert rank_me(torch.zeros(4, 3)) == pytest.approx(1.0)
    assert rank_me(torch.eye(8), max_samples=4) == pytest.approx(4.0)


def test_rank_of_a_bank_in_the_order_of_its_classes():
    # twenty classes of two hundred images, each on a line of its own
    bank = torch.eye(20).repeat_interleave(200, 0)  # (4000, 20)
    bank = bank * (1 + torch.rand(4000, 1, generator=torch.Generator().manual_seed(1)))
    whole = rank_me(bank)
    assert whole == pytest.approx(20, rel=0.01)
    # the first 400 rows are two classes
    assert rank_me(bank[:400]) == pytest.approx(2, rel=0.01)
    assert rank_me(bank, max_samples=400) == pytest.approx(whole, rel=0.05)
    # the same rows each time, whatever else has drawn
    once = rank_me(bank, max_samples=100)
    torch.rand(7)
    assert rank_me(bank, max_samples=100) == once
    shuffled = bank[torch.randperm(4000)]
    assert rank_me(shuffled, max_samples=400) == pytest.approx(whole, rel=0.05)


def test_std():
    features = torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))
    assert feature_std(features) == pytest.approx(1 / 8, rel=0.02)
    assert feature_std(torch.ones(5, 1) * features[:1]) < 1e-6


def made_groups(rank, images=400, rows=6, dims=24, noise=1.0, seed=0):
    """Means of images in ``rank`` directions, and isotropic noise within images."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(dims, rank, generator=generator)).Q
    means = 10 * torch.randn(images, rank, generator=generator) @ basis.T
    noises = torch.randn(images, rows, dims, generator=generator)
    return means[:, None] + noise * noises


@pytest.mark.parametrize('rank', [1, 3, 8])
def test_lidar_counts_what_tells_images_apart(rank):
    assert lidar(made_groups(rank, noise=0.1)) == pytest.approx(rank, rel=0.1)


def test_lidar_by_generalized_eigenvalues():
    groups = made_groups(5, images=60, rows=4, dims=10, seed=1).double()
    means = groups.mean(1)
    between = torch.zeros(10, 10, dtype=torch.float64)
    within = between.clone()
    for image, mean in zip(groups, means, strict=True):
        offset = mean - means.mean(0)
        between += torch.outer(offset, offset) / 60
        for row in image:
            within += torch.outer(row - mean, row - mean) / 240
    within += 1e-4 * within.trace() / 10 * torch.eye(10)
    values = torch.linalg.eigvals(torch.linalg.inv(within) @ between).real.clamp_min(0)
    share = values / values.sum()
    expected = torch.special.entr(share).sum().exp()
    assert lidar(groups) == pytest.approx(expected.item(), rel=1e-6)


def test_lidar_has_no_scale_and_no_nan():
    groups = made_groups(4)
    assert lidar(1e-6 * groups) == pytest.approx(lidar(groups), rel=1e-4)
    assert lidar(torch.ones(5, 3, 7)) == pytest.approx(1.0)  # a constant encoder
    with pytest.raises(ValueError, match='two rows of each image'):
        lidar(torch.ones(5, 1, 7))
