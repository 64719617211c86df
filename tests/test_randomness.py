import numpy as np
import torch

from dseq_mm.randomness import hash_integers, keyed_uniform


def splitmix(state):
    """Reference SplitMix64 finaliser on Python integers."""
    mask = 2**64 - 1
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & mask
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB & mask
    return state ^ (state >> 31)


def test_tensor_hash_equals_big_integer_arithmetic():
    mask, golden = 2**64 - 1, 0x9E3779B97F4A7C15
    key = hash_integers(3, 14, 15)
    draws = keyed_uniform(key, torch.tensor([0, 7, 123456789]), 5)
    for row, index in enumerate([0, 7, 123456789]):
        state = splitmix((index * golden + key) & mask)
        for column in range(5):
            bits = splitmix((state + (column + 1) * golden) & mask)
            assert draws[row, column].item() == (bits >> 11) / 2**53


def test_row_depends_on_key_and_index_alone():
    key = hash_integers(0, 1)
    index = torch.tensor([5, 9, 2])
    draws = keyed_uniform(key, index, 8)
    alone = keyed_uniform(key, index[1:2], 8)
    assert torch.equal(draws[1:2], alone)
    assert torch.equal(keyed_uniform(key, index.flip(0), 8), draws.flip(0))
    assert not torch.equal(keyed_uniform(hash_integers(0, 2), index, 8), draws)
    assert torch.equal(keyed_uniform(key, index, 3), draws[:, :3])


def test_draws_look_uniform_and_independent():
    draws = keyed_uniform(hash_integers(0, 0, 1), torch.arange(4000), 4).numpy()
    assert draws.min() >= 0 and draws.max() < 1
    assert abs(draws.mean() - 0.5) < 0.01
    histogram = np.histogram(draws, 20, (0, 1))[0] / draws.size * 20
    assert abs(histogram - 1).max() < 0.15
    assert abs(np.corrcoef(draws.T) - np.eye(4)).max() < 0.06
    assert abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 0.06


def test_hash_depends_on_order_and_every_value():
    hashes = {hash_integers(a, b) for a in range(50) for b in range(50)}
    assert len(hashes) == 2500
    assert hash_integers(1, 2) != hash_integers(2, 1)
    assert 0 <= hash_integers(-1) < 2**64
