"""Saliency maps: two proxies as pure functions, and their normalization.

Shape legend: ``B`` images, ``P`` patches on a grid ``(H, W)``, ``D`` channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .threshold import MAX_LEVEL


def normalize_saliency(saliency: Tensor) -> tuple[Tensor, Tensor]:
    """Normalize each map as in the paper: ``(A - min) / (max - min + 1e-6)``.

    Args:
        saliency: Maps of any floating type and any scale, ``(B, H, W)``.

    Returns:
        The normalized maps, ``(B, H, W)``, float32 in ``[0, 1]``, and which maps are
        degenerate, ``(B,)``, bool. A map is degenerate if it holds NaN or infinity, or
        if it is constant: no patch reaches the first of the 255 levels above zero (a
        range under 4e-9). A map of one patch is always constant. Degenerate maps come
        back as zeros.
    """
    flat = saliency.flatten(1).float()  # (B, H, W) -> (B, P)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    normalized = (flat - low) / (high - low + 1e-6)
    # NaN fails both comparisons; the maximum of a constant map is 0
    peak = normalized.amax(1)
    usable = (peak * MAX_LEVEL >= 1) & (peak <= 1) & (high - low).isfinite().squeeze(1)
    normalized = torch.where(usable[:, None], normalized, 0.0)
    return normalized.view(saliency.shape), ~usable


def class_token_similarity(class_token: Tensor, patches: Tensor) -> Tensor:
    """Compute the cosine between the class token and each patch token.

    Args:
        class_token: ``(B, D)``.
        patches: ``(B, P, D)``.

    Returns:
        Cosines in float32, ``(B, P)``.
    """
    return F.cosine_similarity(class_token.float()[:, None], patches.float(), dim=2)


def grad_cam(tokens: Tensor, gradients: Tensor) -> Tensor:
    """Compute Grad-CAM over tokens (Eq. 8 of the paper).

    Args:
        tokens: Patch tokens, ``(B, P, D)``.
        gradients: Gradient of a scalar with respect to them, ``(B, P, D)``.

    Returns:
        ReLU of the sum over channels of the tokens, weighted by the mean over patches
        of the gradient; float32, ``(B, P)``.
    """
    weights = gradients.float().mean(1, keepdim=True)  # (B, 1, D)
    return (tokens.float() * weights).sum(2).relu()
