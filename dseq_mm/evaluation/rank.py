"""How many dimensions the features use: signs of collapse without labels.

Each process gives the features of its own images, as shards.py deals them out; all
get the value of the whole. Shape legend: ``n`` images, ``m`` of one process, ``k``
views or patches of an image, ``D`` channels.
"""

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, get_rank, get_world_size
from torch import Tensor

from .shards import count, total


def rank_me(features: Tensor, max_samples: int = 25600) -> float:
    """Compute RankMe: exp of the entropy of the normalized singular values.

    Of more rows than ``max_samples`` a random choice is taken, always the same for the
    same number: banks lie in the order of their classes.

    Args:
        features: ``(m, D)``.
        max_samples: Rows to use at most.

    Returns:
        Between 1 (all rows on one line) and ``min(n, D)``.
    """
    return _effective(torch.linalg.svdvals(_sample(features, max_samples).double()))


def lidar(groups: Tensor, regularization: float = 1e-4) -> float:
    """Compute the rank of LiDAR (Thilak et al., 2023): what tells images apart.

    Exp of the entropy of the eigenvalues of a linear discriminant analysis in which
    each image is a class: directions count by how far the means of images differ over
    how far the rows of one image do. The paper's rows are views of an image; those of
    a monitor are patches of it, whence its values are comparable among themselves and
    not with the paper's.

    Args:
        groups: ``(m, k, D)``, ``k`` rows of each image, as many images in each process.
        regularization: Added to the variance within images, in units of its mean over
            channels. (The paper adds the same number to the variance itself.)

    Returns:
        Between 1 and ``min(n - 1, D)``.

    Raises:
        ValueError: There is one row of each image, so that nothing varies within.
    """
    if groups.ndim != 3 or groups.shape[1] < 2:
        raise ValueError(
            'lidar takes (images, rows, channels) with two rows of each image or more, '
            f'got {tuple(groups.shape)}'
        )
    if get_world_size() > 1:
        groups = torch.cat(all_gather(groups.contiguous()))  # (n, k, D)
    groups = groups.double()
    means = groups.mean(1)  # (n, D)
    residuals = (groups - means[:, None]).flatten(0, 1)  # (n, k, D) -> (n * k, D)
    within = residuals.T @ residuals / len(residuals)  # (D, D)
    scale = within.diagonal().mean().clamp_min(torch.finfo(within.dtype).tiny)
    within.diagonal().add_(regularization * scale)
    centered = (means - means.mean(0)) / len(means) ** 0.5  # (n, D)
    root = torch.linalg.cholesky(within)
    whitened = torch.linalg.solve_triangular(root, centered.T, upper=False)  # (D, n)
    return _effective(torch.linalg.svdvals(whitened).square())


def _effective(values: Tensor) -> float:
    """Exp of the entropy of what each of some values is of their sum."""
    share = values / values.sum().clamp_min(torch.finfo(values.dtype).tiny)
    return torch.special.entr(share).sum().exp().item()


def _sample(features: Tensor, max_samples: int) -> Tensor:
    """Rows of all processes, ``(min(n, max_samples), D)``."""
    size, rank, world = count(features), get_rank(), get_world_size()
    if size <= max_samples and world == 1:
        return features
    chosen = torch.arange(size)
    if size > max_samples:
        generator = torch.Generator().manual_seed(0)
        chosen = torch.randperm(size, generator=generator)[:max_samples]
    mine = (chosen % world == rank).to(features.device)
    chosen = chosen.to(features.device)
    sample = features.new_zeros(len(chosen), features.shape[1])
    sample[mine] = features[chosen[mine] // world]
    return total(sample)  # each row is of one process, and zero in the others


def feature_std(features: Tensor) -> float:
    """Compute the deviation over images of l2-normalized features, mean over channels.

    Args:
        features: ``(m, D)``.

    Returns:
        0 for a constant encoder, about ``1 / sqrt(D)`` for isotropic features.
    """
    size = count(features)
    features = F.normalize(features.float(), dim=1)
    mean = total(features.sum(0)) / size  # (D,)
    variance = total((features - mean).square().sum(0)) / size  # (D,)
    return variance.sqrt().mean().item()
