"""The sample holds the last images, in order, whatever the batches."""

import pytest
import torch

from dseq_mm.models.rolling_sample import RollingSample


@pytest.mark.parametrize('batches', [[3], [2, 2, 2], [4, 3, 1, 4], [9], [4, 9, 2]])
def test_last_images(batches):
    tokens = torch.randn(sum(batches), 6, 5)
    sample = RollingSample(size=4, patches=3)
    for batch in tokens.split(batches):
        sample.add(batch)
    count = min(4, len(tokens))
    assert sample.seen == min(sum(batches), sum(min(4, b) for b in batches))
    pooled, patches = sample.rows(count)
    assert torch.allclose(pooled, tokens[-count:].mean(1))
    assert torch.equal(patches, tokens[-count:][:, [0, 2, 5]])  # first to last
    pooled, _ = sample.rows(1)
    assert torch.allclose(pooled, tokens[-1:].mean(1))


def test_few_patches_half_precision_and_another_grid():
    sample = RollingSample(size=4, patches=8)
    sample.add(torch.randn(2, 3, 5, dtype=torch.bfloat16))
    pooled, patches = sample.rows(2)
    assert pooled.dtype == torch.float32 and patches.shape == (2, 3, 5)
    sample.add(torch.ones(1, 2, 5))
    assert sample.seen == 1 and sample.rows(1)[1].shape == (1, 2, 5)
