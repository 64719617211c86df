"""Colors and numbers of patch tokens, on tokens whose structure is known."""

import numpy as np
import pytest

from dseq_mm.visualization.patches import (
    cluster_patches,
    map_to_plane,
    match_clusters,
    pca_colors,
    similarity_to,
)

RANDOM = np.random.default_rng(0)


def test_colors_are_the_components_of_all_images_together():
    tokens = [RANDOM.normal(size=(3, 4, 6)), RANDOM.normal(size=(5, 2, 6))]
    colors = pca_colors(tokens)
    assert [each.shape for each in colors] == [(3, 4, 3), (5, 2, 3)]
    rows = np.concatenate([each.reshape(-1, 6) for each in tokens])
    centered = rows - rows.mean(0)
    scores = centered @ np.linalg.svd(centered, full_matrices=False)[2][:3].T
    found = np.concatenate([each.reshape(-1, 3) for each in colors])
    for channel in range(3):
        inner = (found[:, channel] > 0) & (found[:, channel] < 1)  # not clipped
        line = np.corrcoef(scores[inner, channel], found[inner, channel])[0, 1]
        assert abs(line) == pytest.approx(1, abs=1e-9)
    assert 0 == min(map(np.min, colors)) and 1 == max(map(np.max, colors))


def test_colors_of_tokens_of_one_direction_or_none():
    line = np.arange(6.0).reshape(2, 3, 1) * np.ones(5)
    (colors,) = pca_colors([line])
    assert np.ptp(colors[..., 0]) == 1 and np.isfinite(colors).all()
    (colors,) = pca_colors([np.ones((2, 3, 5))])
    assert np.isfinite(colors).all()
    assert pca_colors([np.ones((2, 2, 1))])[0].shape == (2, 2, 3)


def test_planted_clusters_are_found_from_the_largest_on():
    planted = np.array([[0, 0, 1, 1], [0, 0, 0, 2], [1, 0, 1, 2]])
    tokens = 10 * np.eye(5)[planted] + RANDOM.normal(scale=0.1, size=(3, 4, 5))
    assert (cluster_patches(tokens, 3) == planted).all()
    with pytest.raises(ValueError, match='13 clusters of 12 patches'):
        cluster_patches(tokens, 13)


def test_clusters_keep_the_numbers_of_the_map_before():
    before = RANDOM.integers(0, 4, (6, 6))
    other = np.array([2, 0, 3, 1])[before]
    assert (match_clusters(other, before) == before).all()
    changed = other.copy()
    changed[0, 0] = (changed[0, 0] + 1) % 4
    assert (match_clusters(changed, before) == before).sum() == 35


def test_similarity_by_loops():
    tokens = RANDOM.normal(size=(3, 4, 5))
    found = similarity_to(tokens, (1, 2))
    for row in range(3):
        for column in range(4):
            one, other = tokens[1, 2], tokens[row, column]
            expected = one @ other / np.sqrt((one @ one) * (other @ other))
            assert found[row, column] == pytest.approx(expected)


def test_a_map_keeps_neighbors_together():
    groups = np.repeat(np.arange(3), 8)
    features = 20 * np.eye(6)[groups] + RANDOM.normal(size=(24, 6))
    plane = map_to_plane(features)
    assert plane.shape == (24, 2)
    distance = np.linalg.norm(plane[:, None] - plane[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (groups[distance.argmin(1)] == groups).mean() > 0.9
    with pytest.raises(ValueError, match='four images'):
        map_to_plane(features[:3])
    with pytest.raises(ValueError, match='not .pca.'):
        map_to_plane(features, 'pca')
