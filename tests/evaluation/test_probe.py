"""The quick probe separates what a line separates."""

import sys

import pytest
import torch

from dseq_mm.evaluation.probe import linear_accuracy


def test_separable_and_random_labels():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(400, 5, generator=generator)
    # a tiny shifted feature decides: without standardization it would be lost
    features[:, 0] = features[:, 0] * 1e-4 + 100
    labels = (features[:, 0] > 100).long()
    found = linear_accuracy(features[:300], labels[:300], features[300:], labels[300:])
    assert found > 95
    chance = torch.randint(2, (400,), generator=generator)
    found = linear_accuracy(features[:300], chance[:300], features[300:], chance[300:])
    assert 30 < found < 70


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, 'sklearn.linear_model', None)
    with pytest.raises(ValueError, match='pip install scikit-learn'):
        linear_accuracy(*[torch.zeros(2, 2), torch.zeros(2)] * 2)
