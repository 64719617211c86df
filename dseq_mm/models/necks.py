"""What the hosts lack between a backbone and a probe.

Shape legend: ``B`` images, ``(H, W)`` grid, ``D`` channels, ``m`` blocks.
"""

import torch
from mmpretrain.models.necks import GlobalAveragePooling
from torch import Tensor

from ..registry import MODELS


@MODELS.register_module()
class ConcatPooling(GlobalAveragePooling):
    """Average-pool the maps of several blocks and concatenate them.

    The features of I-JEPA's linear probe, with the last four blocks.
    """

    def forward(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        """Pool and concatenate.

        Args:
            inputs: ``m`` maps ``(B, D, H, W)``.

        Returns:
            One tensor ``(B, m * D)``, the first block first.
        """
        return (torch.cat(super().forward(tuple(inputs)), dim=1),)
