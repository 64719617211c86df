"""The FLOP of a training, from its config."""

from typing import Any

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS

from ..clock import TrainingClock
from ..evaluation.cost import inference_gflop, step_gflop
from ..models import JEPA, DiscriminativeMaskGenerator, EncodedImage
from ..models.saliency import GivenSaliency
from ..plan import PredictionPlan
from ..utils.command import explain, quietly

_PLANS = 32  # whose mean is counted


def count_gflop(settings: dict[str, Any]) -> list[tuple[str, str]]:
    """Count the encoder and a training step, where that can be done.

    Args:
        settings: Config of the training, as data.

    Returns:
        Pairs of a name and a number.
    """
    model = settings.get('model')
    if not isinstance(model, dict) or not isinstance(model.get('backbone'), dict):
        return []
    try:
        with MODELS.switch_scope_and_registry('mmpretrain'), quietly():
            found = [('GFLOP of the encoder, one image', inference_gflop(model))]
            if (plan := _sample_plan(model)) is not None:
                step = step_gflop(model, plan)
                found.append(('GFLOP of a training step, per image', step))
    except Exception as error:  # a method of others, whose code may not be there
        return [('GFLOP', f'not counted: {explain(error)}')]
    return [(name, f'{value:.4g}') for name, value in found]


def _sample_plan(model: dict) -> PredictionPlan | None:
    """Plans at the end of the curriculum, of smooth random saliency; None without."""
    with torch.device('meta'):
        algorithm = MODELS.build(model)
    if not isinstance(algorithm, JEPA):
        return None
    grid = tuple(algorithm.backbone.patch_resolution)
    generator = algorithm.mask_generator
    noise = torch.rand(_PLANS, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    maps = F.interpolate(noise, grid, mode='bicubic')[:, 0]  # (B, H, W)
    if isinstance(generator, DiscriminativeMaskGenerator):
        generator.saliency = GivenSaliency(maps)
    encoded = EncodedImage(torch.empty(0), grid)
    return generator(encoded, torch.arange(_PLANS), TrainingClock(0, 0, 1.0), None)
