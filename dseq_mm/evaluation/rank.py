"""How many dimensions the features use: signs of collapse without labels.

Shape legend: ``n`` images, ``D`` channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def rank_me(features: Tensor, max_samples: int = 25600) -> float:
    """Compute RankMe: exp of the entropy of the normalized singular values.

    Of more rows than ``max_samples`` a random choice is taken, always the same for the
    same number: banks lie in the order of their classes.

    Args:
        features: ``(n, D)``.
        max_samples: Rows to use at most.

    Returns:
        Between 1 (all rows on one line) and ``min(n, D)``.
    """
    if len(features) > max_samples:
        generator = torch.Generator().manual_seed(0)
        chosen = torch.randperm(len(features), generator=generator)[:max_samples]
        features = features[chosen.to(features.device)]
    values = torch.linalg.svdvals(features.double())
    share = values / values.sum().clamp_min(torch.finfo(values.dtype).tiny)
    return torch.special.entr(share).sum().exp().item()


def feature_std(features: Tensor) -> float:
    """Compute the deviation over images of l2-normalized features, mean over channels.

    Args:
        features: ``(n, D)``.

    Returns:
        0 for a constant encoder, about ``1 / sqrt(D)`` for isotropic features.
    """
    return F.normalize(features.float(), dim=1).std(0, correction=0).mean().item()
