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


def test_std():
    features = torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))
    assert feature_std(features) == pytest.approx(1 / 8, rel=0.02)
    assert feature_std(torch.ones(5, 1) * features[:1]) < 1e-6
