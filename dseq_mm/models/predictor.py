"""The predictor: a narrow transformer from context tokens to target features.

Shape legend: ``R`` plan rows, ``S`` prediction steps, ``Lc`` context and ``Lt`` target
slots, ``G`` targets of the largest group, ``D`` encoder and ``Dp`` predictor channels.
"""

import torch
from mmengine.model import BaseModule, ModuleList
from mmpretrain.models.utils import build_norm_layer, to_2tuple
from torch import Tensor, nn

from ..plan import PredictionPlan
from ..registry import MODELS
from ..utils.values import check_counts, check_numbers
from .layers import (
    MaskedEncoderLayer,
    apply_init_cfg,
    init_transformer,
    run_layers,
    sincos_position_embedding,
)


@MODELS.register_module()
class JEPAPredictor(BaseModule):
    """Predict the features of target patches from the visible context.

    Context tokens are projected to ``predictor_dims`` and given positions; each target
    is a learned mask token with its position (I-JEPA, Sec. 3; DSeq-JEPA, Eq. 5). All
    steps of a plan run in one pass under the plan's visibility rule. Plans with
    ``context_sees_targets`` run the predictor once per step, on repeated context.

    Args:
        grid_size: Rows and columns of patches, or one number for both.
        embed_dims: ``D``.
        predictor_dims: ``Dp``.
        depth: Number of layers.
        num_heads: Attention heads; I-JEPA takes the encoder's.
        mlp_ratio: Hidden channels of a layer's MLP over ``predictor_dims``.
        init_std: Deviation of the initial weights, see :class:`JEPAViT`.
        norm_cfg: Normalization layer.
        with_cp: Recompute the layers in the backward pass, which saves memory.
        varlen: Attend without padding where nothing is hidden inside of a row, as in
            I-JEPA; on a CUDA device in half precision, without dropout of attention.
        init_cfg: Initialization config.

    Raises:
        ValueError: If a number is out of range, or the heads do not divide the
            channels.
    """

    def __init__(
        self,
        grid_size: int | tuple[int, int],
        embed_dims: int = 768,
        predictor_dims: int = 384,
        depth: int = 6,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        init_std: float = 0.02,
        norm_cfg: dict | None = None,
        with_cp: bool = False,
        varlen: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.with_cp, self.varlen = with_cp, varlen
        check_counts(
            self,
            embed_dims=embed_dims,
            predictor_dims=predictor_dims,
            depth=depth,
            num_heads=num_heads,
        )
        rows, columns = to_2tuple(grid_size)
        check_counts(self, grid_size=rows)
        check_counts(self, grid_size=columns)
        check_numbers(self, True, mlp_ratio=mlp_ratio, init_std=init_std)
        if predictor_dims % num_heads or predictor_dims % 4:
            raise ValueError(
                f'predictor_dims={predictor_dims} must be a multiple of 4 and of '
                f'num_heads={num_heads}'
            )
        self.init_std = init_std
        norm_cfg = norm_cfg or dict(type='LN', eps=1e-6)
        self.grid_size = rows, columns
        self.embed = nn.Linear(embed_dims, predictor_dims)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, predictor_dims))
        self.pos_embed = nn.Parameter(
            sincos_position_embedding(self.grid_size, predictor_dims),
            requires_grad=False,
        )
        self.layers = ModuleList(
            MaskedEncoderLayer(
                embed_dims=predictor_dims,
                num_heads=num_heads,
                feedforward_channels=int(predictor_dims * mlp_ratio),
                norm_cfg=norm_cfg,
            )
            for _ in range(depth)
        )
        self.norm = build_norm_layer(norm_cfg, predictor_dims)
        self.project = nn.Linear(predictor_dims, embed_dims)

    def init_weights(self) -> None:
        """Initialize as I-JEPA, then by ``init_cfg``; a second call changes nothing."""
        if self.is_init:
            return
        init_transformer(self, self.init_std)
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        apply_init_cfg(self)

    def forward(self, context: Tensor, plan: PredictionPlan) -> Tensor:
        """Predict all targets of a plan.

        Args:
            context: Context tokens, ``(R, Lc, D)``.
            plan: The plan that they were encoded under.

        Returns:
            Predicted features, ``(R, Lt, D)``; those of padding slots mean nothing.

        Raises:
            ValueError: If the plan is for another grid than the predictor.
        """
        rows, columns = self.grid_size
        if plan.num_patches != rows * columns:
            raise ValueError(
                f'the images give {plan.num_patches} patches, the predictor was built '
                f'for a grid of {rows}x{columns}. Make the crop of the data pipeline '
                'equal to img_size of the backbone.'
            )
        context = self.embed(context)  # (R, Lc, Dp)
        if not plan.context_sees_targets:
            return self._predict(context, plan)
        single = plan.unroll()
        # (R, Lc, Dp) -> (R * S, Lc, Dp)
        context = context.repeat_interleave(plan.num_steps, dim=0)
        return plan.roll(self._predict(context, single))

    def _predict(self, context: Tensor, plan: PredictionPlan) -> Tensor:
        """One pass under the plan's visibility rule, ``(R, Lc, Dp) -> (R, Lt, D)``."""
        num_context = context.shape[1]
        positions = self.pos_embed[0]  # (P, Dp)
        context = context + positions[plan.context_ids.clamp(min=0)]
        target = self.mask_token + positions[plan.target_ids.clamp(min=0)]
        tokens = torch.cat([context, target.to(context.dtype)], dim=1)
        visible = plan.predictor_visibility()
        tokens = run_layers(self.layers, tokens, visible, self.with_cp, self.varlen)
        return self.project(self.norm(tokens[:, num_context:]))
