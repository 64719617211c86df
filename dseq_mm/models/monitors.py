"""What a loss does not say: whether targets differ, and how much of them is predicted.

Shape legend: ``R`` plan rows, ``Lt`` target slots, ``S`` steps, ``D`` channels.
"""

import torch
from torch import Tensor

from ..plan import PredictionPlan

_MOST_STEPS = 10  # of which each has a number of its own in the log


@torch.no_grad()
def batch_statistics(
    prediction: Tensor, target: Tensor, plan: PredictionPlan
) -> dict[str, Tensor]:
    """Compute signs of collapse and of learning from the batch that is there.

    All are over the target patches of this process, in float32; nothing is waited for.

    Args:
        prediction: ``(R, Lt, D)``.
        target: ``(R, Lt, D)``.
        plan: Tells padding and steps apart.

    Returns:
        ``target_std`` and ``prediction_std``, the deviation over patches, mean over
        channels: near 1 for normalized targets that differ, 0 if all are the same.
        ``target_cosine``, the mean cosine of two targets: 1 if all are the same (exact
        where targets are of one length, as normalized ones are). ``unexplained``, the
        squared error over that of the best constant: 1 if nothing is learned, 0 if
        everything; ``unexplained_step1`` and so on, that of each step: of DSeq-JEPA
        step 1 predicts region R2, of I-JEPA a step is a target block; and
        ``context_patches`` and ``target_patches``, how many a row of the plan has.
    """
    real = plan.target_ids >= 0  # (R, Lt)
    share = real.float() / real.sum()
    target, prediction = _real(target, real), _real(prediction, real)
    mean, deviation, energy = _moments(target, share)
    _, predicted, _ = _moments(prediction, share)
    error = (prediction - target).square().mean(-1) * share  # (R, Lt)
    spread = (target - mean).square().mean(-1) * share  # (R, Lt)
    smallest = torch.finfo(error.dtype).tiny
    statistics = dict(
        target_std=deviation.mean(),
        prediction_std=predicted.mean(),
        target_cosine=mean.square().sum() / energy.sum().clamp_min(smallest),
        unexplained=error.sum() / spread.sum().clamp_min(smallest),
        context_patches=(plan.context_ids >= 0).sum(1).float().mean(),
        target_patches=real.sum(1).float().mean(),
    )
    if 1 < plan.num_steps <= _MOST_STEPS:
        # from 1, padding 0: (R, Lt) -> (R * Lt,)
        step = (plan.target_step - 1).clamp_min(0).flatten()
        zeros = error.new_zeros(plan.num_steps)
        errors = zeros.index_add(0, step, error.flatten())  # (S,)
        spreads = zeros.index_add(0, step, spread.flatten())  # (S,)
        shares = errors / spreads.clamp_min(smallest)
        for number, value in enumerate(shares.unbind(), start=1):
            statistics[f'unexplained_step{number}'] = value
    return statistics


def _real(tokens: Tensor, real: Tensor) -> Tensor:
    """Tokens in float32; those of padding slots, which may be anything, are zero."""
    return tokens.detach().float().masked_fill(~real[..., None], 0.0)


def _moments(tokens: Tensor, share: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, deviation and mean square of each channel, all ``(D,)``."""
    mean = torch.einsum('rl,rld->d', share, tokens)
    energy = torch.einsum('rl,rld->d', share, tokens.square())
    return mean, (energy - mean.square()).clamp_min(0.0).sqrt(), energy
