"""What a training step and an encoder cost, as counts.

2 FLOP per multiply-add. Models run on ``meta`` tensors, so nothing is computed;
attention is counted by its math backend, for the counter knows no other on a machine
without GPU. Elementwise operations are not counted, as is usual.
"""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import torch
from mmpretrain.models.utils import to_2tuple
from mmpretrain.registry import MODELS
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ..plan import PredictionPlan


def count_flop(run: Callable[[], Any]) -> float:
    """Count the FLOP of a function.

    Args:
        run: The function.

    Returns:
        The number.
    """
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def to_meta(plan: PredictionPlan) -> PredictionPlan:
    """Leave the values of a plan out.

    Args:
        plan: The plan.

    Returns:
        A plan of the same shapes, which holds nothing.
    """
    tensors = {
        field.name: getattr(plan, field.name).to('meta')
        for field in fields(plan)
        if isinstance(getattr(plan, field.name), Tensor)
    }
    return replace(plan, **tensors)


def step_gflop(config: dict, plan: PredictionPlan) -> float:
    """Count a training step under a plan: target encoder, forward and backward pass.

    Args:
        config: Of a model of ours.
        plan: The plan.

    Returns:
        GFLOP per image.
    """
    with torch.device('meta'):
        model = MODELS.build(config)
        size = to_2tuple(config['backbone'].get('img_size', 224))
        images = torch.empty(plan.num_samples, 3, *size)
    plan = to_meta(plan)

    def run() -> None:
        """Run the step."""
        model.encode_target(images)
        model.neck(model.backbone(images, plan), plan).sum().backward()

    return count_flop(run) / plan.num_samples / 1e9


def inference_gflop(config: dict) -> float:
    """Count the encoder on one image, the class token included.

    Args:
        config: Of a model of ours, or of another with a backbone.

    Returns:
        GFLOP.
    """
    with torch.device('meta'):
        backbone = MODELS.build(config['backbone'])
        backbone.eval()  # no chaining: some hosts' eval() returns None
        image = torch.empty(1, 3, *to_2tuple(config['backbone'].get('img_size', 224)))

    def run() -> None:
        """Encode."""
        with torch.no_grad():
            backbone(image)

    return count_flop(run) / 1e9
