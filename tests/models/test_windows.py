"""Windowed attention against attention under an explicit mask."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dseq_mm.models.windows import WindowedAttention, Windows
from dseq_mm.visibility import Visibility

GRIDS = st.tuples(st.integers(1, 7), st.integers(1, 7))


def attention(seed=0):
    torch.manual_seed(seed)
    return WindowedAttention(embed_dims=8, num_heads=2).double().eval()


def visible_pairs(grid, size, extra):
    """Who sees whom, pair by pair."""
    rows, columns = grid
    u, v = min(size, rows), min(size, columns)
    length = extra + rows * columns
    mask = torch.zeros(length, length, dtype=torch.bool)
    for query in range(length):
        for key in range(length):
            if query < extra or key < extra:
                mask[query, key] = True
                continue
            (y, x), (b, a) = (divmod(t - extra, columns) for t in (query, key))
            mask[query, key] = (y // u, x // v) == (b // u, a // v)
    return mask


@settings(max_examples=60, deadline=None)
@given(GRIDS, st.integers(1, 5), st.integers(0, 1), st.integers(0, 9))
def test_equals_masked_attention(grid, size, extra, seed):
    layer = attention(seed)
    tokens = torch.randn(2, extra + grid[0] * grid[1], 8, dtype=torch.float64)
    mask = visible_pairs(grid, size, extra).expand(2, -1, -1)
    expected = super(WindowedAttention, layer).forward(tokens, Visibility(mask))
    found = layer(tokens, Windows(grid, size, extra))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(GRIDS, st.integers(1, 9), st.integers(1, 3))
def test_join_undoes_split(grid, size, batch):
    windows = Windows(grid, size, 0)
    tokens = torch.randn(batch, 2, grid[0] * grid[1], 3)
    parts = windows.split(tokens)
    assert len(parts) == batch * windows.counts[0] * windows.counts[1]
    assert torch.equal(windows.join(parts), tokens)


@pytest.mark.parametrize('grid', [(4, 4), (3, 4), (1, 2)])
@pytest.mark.parametrize('extra', [0, 1])
def test_one_window_is_global_attention(grid, extra):
    layer = attention()
    tokens = torch.randn(2, extra + grid[0] * grid[1], 8, dtype=torch.float64)
    windows = Windows(grid, 4, extra)
    assert windows.counts == (1, 1)
    torch.testing.assert_close(
        layer(tokens, windows), layer(tokens), rtol=0, atol=1e-12
    )


def test_a_patch_reaches_its_window_and_the_class_token_alone():
    layer = attention()
    windows = Windows((5, 7), 3, 1)
    tokens = torch.randn(2, 36, 8, dtype=torch.float64)
    changed = tokens.clone()
    row, column = 4, 3  # window of rows 3 to 4 (padded), columns 3 to 5
    changed[1, 1 + row * 7 + column] += 1.0
    moved = (layer(tokens, windows) != layer(changed, windows)).any(-1)
    assert not moved[0].any()
    assert moved[1, 0]
    inside = torch.zeros(5, 7, dtype=torch.bool)
    inside[3:5, 3:6] = True
    assert torch.equal(moved[1, 1:].reshape(5, 7), inside)
