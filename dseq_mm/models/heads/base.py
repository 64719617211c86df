"""What the losses beside the latent loss share.

They are statistics over the batch, so they are computed in float32 over the images of
all processes: pooled features are gathered *before* any projector, and every process
then computes the same loss of the global batch. The backward pass of the gathering
sums the gradients of all processes, and DistributedDataParallel averages them, so every
parameter, before or behind the gathering, gets the gradient of one large process.

Shape legend: ``R`` plan rows, ``B`` images of this process, ``n`` images of all
processes, ``Lc`` context and ``Lt`` target slots, ``D`` channels.
"""

import torch
from mmengine.dist import get_world_size
from mmengine.model import BaseModule
from torch import Tensor
from torch.distributed.nn.functional import all_gather

from ...clock import TrainingClock
from ...plan import PredictionPlan


class RegularizerHead(BaseModule):
    """Base of the losses that are added to the latent loss."""

    def loss(
        self,
        context: Tensor,
        prediction: Tensor,
        target: Tensor,
        plan: PredictionPlan,
        clock: TrainingClock,
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss, weighted.

        Args:
            context: Output of the context encoder, ``(R, Lc, D)``.
            prediction: ``(R, Lt, D)``.
            target: ``(R, Lt, D)``, no gradient.
            plan: Tells rows, groups and padding apart.
            clock: The time, and the seed of the run, for keyed draws.

        Returns:
            A scalar, at least float32; or that, and scalars for the log by name. A
            name may not have ``loss`` in it.
        """
        raise NotImplementedError


def gather_images(features: Tensor) -> Tensor:
    """Join the rows of all processes; gradients flow back to all of them.

    Args:
        features: One row per image of this process, ``(B, ...)``; as many on each.

    Returns:
        ``(n, ...)``, process by process.
    """
    if get_world_size() == 1:
        return features
    return torch.cat(all_gather(features.contiguous()))
