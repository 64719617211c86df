"""What patch tokens have in common, as colors and numbers.

Shape legend: ``B`` images, ``(H, W)`` patches of each, ``D`` channels.
"""

from collections.abc import Sequence

import numpy as np

#: Of clusters: told apart in print and by most who see colors differently.
CLUSTER_COLORS = (
    (0.00, 0.45, 0.70),
    (0.90, 0.62, 0.00),
    (0.00, 0.62, 0.45),
    (0.80, 0.47, 0.65),
    (0.94, 0.89, 0.26),
    (0.34, 0.71, 0.91),
    (0.84, 0.37, 0.00),
    (0.20, 0.20, 0.20),
)


def pca_colors(tokens: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Turn the three largest principal components of all patches into colors.

    Args:
        tokens: Patch tokens of each image, ``(H, W, D)``.

    Returns:
        Red, green and blue from 0 to 1, ``(H, W, 3)``: alike where tokens are, in all
        images. Each color spans all but the outermost hundredth of its component.
    """
    from sklearn.decomposition import PCA

    rows = np.concatenate([each.reshape(-1, each.shape[-1]) for each in tokens])
    count = min(3, *rows.shape)
    if not np.ptp(rows, axis=0).any():  # all are the same
        return _by_image(np.zeros((len(rows), 3)), tokens)
    values = PCA(count, svd_solver='full').fit_transform(rows.astype(np.float64))
    low, high = np.percentile(values, [1, 99], axis=0)
    values = np.clip((values - low) / np.maximum(high - low, 1e-12), 0, 1)
    values = np.pad(values, ((0, 0), (0, 3 - count)))  # (n, 3)
    return _by_image(values, tokens)


def cluster_patches(tokens: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Cluster the patches of one image by k-means.

    Args:
        tokens: ``(H, W, D)``.
        count: Number of clusters.
        seed: Of the first centers.

    Returns:
        Cluster of each patch, ``(H, W)``, from the largest cluster on.

    Raises:
        ValueError: There are fewer patches than clusters.
    """
    from sklearn.cluster import KMeans

    rows = tokens.reshape(-1, tokens.shape[-1]).astype(np.float64)  # (H * W, D)
    if len(rows) < count:
        raise ValueError(
            f'{count} clusters of {len(rows)} patches: ask for fewer, or for larger '
            'images'
        )
    found = KMeans(count, n_init=10, random_state=seed).fit_predict(rows)
    sizes = np.bincount(found, minlength=count)
    rank = np.argsort(np.argsort(-sizes, kind='stable'), kind='stable')
    return rank[found].reshape(tokens.shape[:2])


def match_clusters(clusters: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Number clusters like those of another map, by what they have in common.

    Args:
        clusters: ``(H, W)``.
        before: The map whose numbers are kept, ``(H, W)``.

    Returns:
        The clusters with other numbers, ``(H, W)``.
    """
    from scipy.optimize import linear_sum_assignment

    count = 1 + max(clusters.max(), before.max())
    common = np.zeros((count, count))
    np.add.at(common, (clusters.ravel(), before.ravel()), 1)
    return linear_sum_assignment(-common)[1][clusters]


def similarity_to(tokens: np.ndarray, patch: tuple[int, int]) -> np.ndarray:
    """Compute the cosine of one patch and all.

    Args:
        tokens: ``(H, W, D)``.
        patch: Row and column.

    Returns:
        ``(H, W)``, from -1 to 1.
    """
    length = np.linalg.norm(tokens, axis=-1, keepdims=True)
    unit = tokens / np.maximum(length, 1e-12)
    return unit @ unit[patch]


def map_to_plane(features: np.ndarray, method: str = 'tsne', seed: int = 0):
    """Lay features out in the plane, neighbors beside neighbors.

    Args:
        features: ``(B, D)``.
        method: 'tsne' (scikit-learn) or 'umap' (umap-learn).
        seed: Of the first layout.

    Returns:
        ``(B, 2)``.

    Raises:
        ValueError: There are fewer than four, the method is another, or umap-learn is
            not installed.
    """
    if len(features) < 4:
        raise ValueError(f'a map needs four images or more, got {len(features)}')
    if method == 'tsne':
        from sklearn.manifold import TSNE

        perplexity = min(30.0, (len(features) - 1) / 3)
        plane = TSNE(perplexity=perplexity, init='pca', random_state=seed)
        return plane.fit_transform(features)
    if method != 'umap':
        raise ValueError(f"the method of a map is 'tsne' or 'umap', not {method!r}")
    try:
        from umap import UMAP
    except ImportError:
        raise ValueError(
            'UMAP needs umap-learn: pip install umap-learn, or take tsne'
        ) from None
    near = min(15, len(features) - 1)
    return UMAP(n_neighbors=near, random_state=seed).fit_transform(features)


def _by_image(values: np.ndarray, tokens: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Cut rows of all patches back into images."""
    ends = np.cumsum([each.shape[0] * each.shape[1] for each in tokens])
    parts = np.split(values, ends[:-1])
    return [
        part.reshape(*each.shape[:2], -1)
        for part, each in zip(parts, tokens, strict=True)
    ]
