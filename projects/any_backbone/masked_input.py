"""Any backbone of mmpretrain as the encoder of a JEPA.

Shape legend: ``B`` images of ``(h, w)`` pixels, ``R`` plan rows, ``P`` patches on a
grid ``(H, W)``, ``Lc`` context slots, ``D`` channels.
"""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from mmpretrain.models.utils import to_2tuple
from mmpretrain.registry import MODELS
from torch import Tensor

from dseq_mm.evaluation.features import evaluation_mode
from dseq_mm.models import EncodedImage
from dseq_mm.plan import PredictionPlan


@MODELS.register_module()
class MaskedInputBackbone(BaseModule):
    """Hide patches in the image instead of in the network.

    A convolution or a window mixes neighbors wherever they are, so nothing can be
    hidden inside the network. This encodes one image per plan row, in which all pixels
    but those of the row's context are zero, the mean color after normalization. Hidden
    pixels are never read. It offers what :class:`~dseq_mm.models.JEPA` asks of a
    backbone; the patches are the cells of the network's last feature map.

    Args:
        network: Config of a backbone whose last output is a map ``(B, D, H, W)``.
        img_size: Height and width in pixels, or one number for both.
        init_cfg: As in mmengine.

    Raises:
        ValueError: If the network has batch norm, gives no map, or its map does not
            divide the image into patches.
    """

    #: Heads of the predictor, where its config does not say; I-JEPA's.
    num_heads = 12
    #: Blocks that :meth:`encode` can report on, and the class token: none.
    num_layers = 0
    cls_token = None

    def __init__(
        self,
        network: dict,
        img_size: int | tuple[int, int] = 224,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.img_size = to_2tuple(img_size)
        self.network = MODELS.build(network)
        for layer in self.network.modules():
            if isinstance(layer, _BatchNorm):
                raise ValueError(
                    f'the network has {type(layer).__name__}: its statistics mix the '
                    'images of a batch, and those of masked images do not fit the '
                    'whole ones of the target encoder. Take a network with layer norm, '
                    "or set norm_cfg=dict(type='GN', num_groups=32)."
                )
        self.embed_dims, self.patch_resolution = self._measure()

    def forward(self, images: Tensor, plan: PredictionPlan | None = None):
        """Encode the context of a plan, or the full image.

        Args:
            images: ``(B, 3, h, w)``, normalized.
            plan: Whose context to encode. None runs the network as it is.

        Returns:
            Context features, ``(R, Lc, D)``; those of padding slots mean nothing.
            Without a plan the network's tuple of outputs.

        Raises:
            ValueError: If context becomes visible at more than one step, or the images
                are not of ``img_size``.
        """
        if plan is None:
            return self.network(images)
        if plan.num_context_steps > 1:
            raise ValueError(
                f'the context of this plan grows over {plan.num_context_steps} steps, '
                'and this backbone encodes one context per row: set '
                'model.unrolled=True.'
            )
        tokens = self._tokens(self.masked_images(images, plan))  # (R, P, D)
        # (R, Lc) -> (R, Lc, 1); padding slots repeat patch 0
        return tokens.take_along_dim(plan.context_ids.clamp(min=0)[..., None], dim=1)

    def encode(
        self,
        images: Tensor,
        hidden: Sequence[int] = (),
        attention: Sequence[int] = (),
    ) -> EncodedImage:
        """Encode the full image.

        Args:
            images: ``(B, 3, h, w)``, normalized.
            hidden: Must be empty, there are no blocks of tokens to keep.
            attention: Likewise.

        Returns:
            The encoded image.

        Raises:
            ValueError: If a saliency proxy asks for a block, or the images are not of
                ``img_size``.
        """
        if hidden or attention:
            raise ValueError(
                'MaskedInputBackbone keeps no outputs of blocks; take a saliency proxy '
                "that reads the patches alone: saliency=dict(type='GradCAM')"
            )
        self._check_size(images)
        return EncodedImage(self._tokens(images), self.patch_resolution)

    def masked_images(self, images: Tensor, plan: PredictionPlan) -> Tensor:
        """What the network reads: one image per plan row, hidden pixels zero.

        Args:
            images: ``(B, 3, h, w)``, normalized.
            plan: The plan.

        Returns:
            ``(R, 3, h, w)``.

        Raises:
            ValueError: If the images are not of ``img_size``.
        """
        self._check_size(images)
        (height, width), (rows, columns) = self.img_size, self.patch_resolution
        ids = plan.context_ids
        visible = ids.new_zeros(len(ids), plan.num_patches + 1, dtype=torch.bool)
        # padding goes to the extra column, which is dropped: (R, P + 1) -> (R, P)
        padded = torch.where(ids >= 0, ids, plan.num_patches)
        visible = visible.scatter_(1, padded, True)[:, :-1]
        visible = visible.view(-1, 1, rows, columns)  # (R, P) -> (R, 1, H, W)
        # (R, 1, H, W) -> (R, 1, h, W) -> (R, 1, h, w)
        visible = visible.repeat_interleave(height // rows, dim=2)
        visible = visible.repeat_interleave(width // columns, dim=3)
        # (B, 3, h, w) -> (R, 3, h, w), sample-major
        images = images.repeat_interleave(plan.rows_per_sample, dim=0)
        return torch.where(visible, images, 0.0)  # a product would let NaN through

    def _tokens(self, images: Tensor) -> Tensor:
        """Cells of the last feature map in raster order, ``(B, P, D)``."""
        # (B, D, H, W) -> (B, D, P) -> (B, P, D)
        return self.network(images)[-1].flatten(2).transpose(1, 2)

    def _measure(self) -> tuple[int, tuple[int, int]]:
        """Channels and grid of the last feature map, from one black image."""
        with evaluation_mode(self.network):
            outputs = self.network(torch.zeros(1, 3, *self.img_size))
        if not isinstance(outputs, tuple | list) or outputs[-1].ndim != 4:
            raise ValueError(
                'the last output of the network must be a feature map (B, D, H, W): '
                'set gap_before_final_norm=False in ConvNeXt, '
                "out_type='featmap' in a VisionTransformer"
            )
        embed_dims, *grid = outputs[-1].shape[1:]
        exact = [s % c == 0 for s, c in zip(self.img_size, grid, strict=True)]
        if not all(exact) or self._pads(grid):
            raise ValueError(
                f'a map of {grid[0]}x{grid[1]} does not divide images of '
                f'{self.img_size[0]}x{self.img_size[1]} px into patches. Choose '
                'img_size as a multiple of the strides of the network.'
            )
        return embed_dims, tuple(grid)

    def _pads(self, grid: Sequence[int]) -> bool:
        """Whether the cells of the map are larger than they seem.

        A network that pads rounds up; twice the size then has less than twice the
        cells.
        """
        try:
            with evaluation_mode(self.network):
                size = [2 * side for side in self.img_size]
                double = self.network(torch.zeros(1, 3, *size))[-1]
        except (AssertionError, RuntimeError, ValueError):
            return False  # a network for one size alone
        return [*double.shape[2:]] != [2 * cells for cells in grid]

    def _check_size(self, images: Tensor) -> None:
        if tuple(images.shape[-2:]) != self.img_size:
            raise ValueError(
                f'images of {images.shape[-2]}x{images.shape[-1]} px, the backbone was '
                f'built for {self.img_size[0]}x{self.img_size[1]}. Make the crop of '
                'the data pipeline equal to img_size.'
            )
