"""How many dimensions the features use: signs of collapse without labels.

Each process gives the features of its own images, as shards.py deals them out; all
get the value of the whole. Shape legend: ``n`` images, ``m`` of one process, ``D``
channels.
"""

import torch
import torch.nn.functional as F
from mmengine.dist import get_rank, get_world_size
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
    values = torch.linalg.svdvals(_sample(features, max_samples).double())
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
