"""From patch tokens to the projected views that a regularizer compares.

A view is one vector per image, such as the mean of one predicted block.

Shape legend: ``R`` plan rows, ``Lt`` target slots, ``B`` images of this process, ``n``
images of all processes, ``S`` views, ``D`` channels, ``K`` projected channels.
"""

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn
from torchvision.ops import MLP

from ...plan import PredictionPlan
from ...utils.values import is_count
from ..layers import as_float32
from .base import gather_images


class Projector(BaseModule):
    """Multi-layer perceptron over the views of all processes.

    Linear layers without bias; batch norm and ReLU after all but the last. The batch
    norm sees every view of every image of one call. As it runs on the gathered batch,
    its statistics are the same on each process without SyncBN.

    Args:
        embed_dims: ``D``.
        widths: Output channels of each linear layer, the last is ``K``; empty for the
            identity.

    Raises:
        ValueError: If a width is no positive whole number.
    """

    def __init__(self, embed_dims: int, widths: Sequence[int]) -> None:
        super().__init__()
        if not all(map(is_count, widths)):
            raise ValueError(
                f'projector widths must be positive whole numbers, got {tuple(widths)}'
            )
        self.layers = nn.Identity()
        if widths:
            self.layers = MLP(
                embed_dims, list(widths), norm_layer=nn.BatchNorm1d, bias=False
            )

    def forward(self, pooled: Tensor) -> Tensor:
        """Gather the images of all processes, then project.

        Args:
            pooled: Pooled features of this process, ``(B, S, D)``.

        Returns:
            ``(S, n, K)``.

        Raises:
            ValueError: If all processes together have a single image.
        """
        views = gather_images(pooled)  # (n, S, D)
        if len(views) < 2:
            raise ValueError(
                'statistics over the batch need at least 2 images over all processes, '
                'got 1: raise train_dataloader.batch_size, and set drop_last=True there'
            )
        # (n, S, D) -> (n * S, D) -> (n * S, K) -> (n, S, K) -> (S, n, K)
        projected = self.layers(views.flatten(0, 1))
        return projected.unflatten(0, views.shape[:2]).transpose(0, 1)


def pool_blocks(tokens: Tensor, plan: PredictionPlan) -> Tensor:
    """Average over the patches of each target block, in at least float32.

    Args:
        tokens: One vector per target slot, ``(R, Lt, D)``.
        plan: Tells the blocks and the padding apart.

    Returns:
        ``(B, S, D)``.

    Raises:
        ValueError: If a block of some image has no patch, hence no mean.
    """
    if plan.has_empty_group:
        raise ValueError(
            'a target region of some image has no patch, so that its mean is no '
            'sample of the batch statistics. The released selection leaves such '
            'regions: turn it off, mask_generator=dict(rule=dict(released=False)), or '
            'train without this regularizer.'
        )
    return plan.pool_targets(as_float32(tokens))
