"""Effective rank and spread on features whose values are known."""

import math

import pytest
import torch

from dseq_mm.evaluation.rank import feature_std, rank_me


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
