"""NEPA's order: patch after patch, as one reads.

Shape legend: ``B`` images, ``P`` patches on a grid ``(H, W)``.
"""

import torch

from ...plan import PredictionPlan, TokenCounts
from ...registry import MODELS
from .base import MaskGenerator


@MODELS.register_module()
class RasterMaskGenerator(MaskGenerator):
    """Predict each patch from those before it in raster order (NEPA, arXiv 2512.16922).

    Patch ``i`` is the one target of step ``i`` and becomes context at step ``i``, so
    under the plan's rule of visibility the encoder is causal. The first patch is no
    target and the last one no context. Nothing is drawn.

    Args:
        seed: As in the base class; nothing is keyed by it.
    """

    def check(self, depth: int, with_cls_token: bool) -> None:
        """See :meth:`MaskGenerator.check`; a class token is refused."""
        if with_cls_token:
            raise ValueError(
                'raster order has a step for each patch, and a plan has a copy of the '
                'class token for each step: they would double the sequence. Set '
                'with_cls_token=False in the backbone.'
            )

    def forward(self, encoded, sample_idx, clock, latent_loss=None) -> PredictionPlan:
        """See :meth:`MaskGenerator.forward`."""
        num_patches = encoded.grid[0] * encoded.grid[1]
        if num_patches < 2:
            raise ValueError('a grid of one patch has nothing to predict from')
        # every length is known: unlike from_ranks, this never waits for the device
        batch, steps = len(sample_idx), num_patches - 1
        patch = torch.arange(steps, device=sample_idx.device).repeat(batch, 1)
        return PredictionPlan(
            context_ids=patch,
            context_step=patch,
            target_ids=patch + 1,
            target_step=patch + 1,
            num_patches=num_patches,
            num_steps=steps,
            num_context_steps=steps,
            group_length=1,
            tokens=TokenCounts(
                context=batch * steps,
                target=batch * steps,
                unrolled_context=batch * steps * (steps + 1) // 2,
                groups=batch * steps,
            ),
        )
