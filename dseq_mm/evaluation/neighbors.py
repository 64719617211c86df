"""Nearest images by the cosine of their features.

Shape legend: ``q`` images that are asked for, ``n`` images of the bank, ``D`` channels.
"""

import numpy as np

from .embedding import Embeddings


def nearest_images(
    asked: Embeddings, bank: Embeddings, count: int
) -> tuple[list[list[str]], np.ndarray]:
    """Find the nearest images of a bank; an image is no neighbor of itself.

    Args:
        asked: Features of some images, ``(q, D)``.
        bank: Features of all images, ``(n, D)``.
        count: Number of neighbors.

    Returns:
        Names of each image's neighbors from the nearest on, and their cosines,
        ``(q, count)``.

    Raises:
        ValueError: They are patch tokens, or the bank has too few other images.
    """
    if asked.values.ndim != 2:
        raise ValueError('neighbors are those of whole images: take another kind')
    if count >= len(bank.names):
        raise ValueError(
            f'{count} neighbors of {len(bank.names)} images: ask for fewer, for an '
            'image is no neighbor of itself'
        )
    queries, values = _unit(asked.values), _unit(bank.values)
    cosine = queries @ values.T  # (q, n)
    own = np.array(asked.names)[:, None] == np.array(bank.names)[None]  # (q, n)
    cosine[own] = -np.inf
    order = np.argsort(-cosine, axis=1, kind='stable')[:, :count]
    names = [[bank.names[index] for index in row] for row in order]
    return names, np.take_along_axis(cosine, order, axis=1)


def _unit(values: np.ndarray) -> np.ndarray:
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
