"""The local aggregation head: two blocks of class attention, wired in two ways.

Shape legend: ``B`` images, ``P`` patches, ``R`` plan rows, ``Lc`` context and ``Lt``
target slots, ``k`` neighbors, ``D`` channels, ``h`` heads, ``d = D / h``; ``N``
queries, each with ``L`` memory tokens of ``M`` in all.
"""

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import FFN
from mmengine.model import BaseModule, ModuleList
from mmpretrain.models.backbones.xcit import ClassAttntion
from mmpretrain.models.utils import build_norm_layer
from torch import Tensor

from dseq_mm.models.layers import as_float32, init_transformer
from dseq_mm.plan import PredictionPlan

from .neighbors import semantic_neighbors

QUERIES = ('selected_mean', 'image_mean', 'self_patch')


class ClassAttention(ClassAttntion):
    """MMPretrain's class attention (CaiT), with a mask and a memory to choose from.

    Parameters are the host's. One query attends to itself and to its memory.
    """

    def forward(
        self,
        query: Tensor,
        memory: Tensor,
        visible: Tensor,
        index: Tensor | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            query: ``(N, 1, D)``.
            memory: What each query has, ``(N, L, D)``; or with ``index`` what all
                choose from, ``(M, D)``, whose keys and values are then made once.
            visible: False hides a memory token from its query, ``(N, L)``.
            index: Memory of each query, ``(N, L)``.

        Returns:
            ``(N, 1, D)``.
        """
        key, value = self.k(memory), self.v(memory)
        if index is not None:
            key, value = key[index], value[index]  # (M, D) -> (N, L, D)
        key = torch.cat([self.k(query), key], dim=1)  # (N, 1 + L, D)
        value = torch.cat([self.v(query), value], dim=1)
        mixed = F.scaled_dot_product_attention(
            self._split_heads(self.q(query)),
            self._split_heads(key),
            self._split_heads(value),
            attn_mask=F.pad(visible, (1, 0), value=True)[:, None, None],
        )
        # (N, h, 1, d) -> (N, 1, h, d) -> (N, 1, D)
        return self.proj(mixed.transpose(1, 2).flatten(2))

    def _split_heads(self, x: Tensor) -> Tensor:
        # (N, L, D) -> (N, L, h, d) -> (N, h, L, d)
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class AggregationBlock(BaseModule):
    """Class attention and an MLP, pre-norm and without layer scale.

    Args:
        embed_dims: ``D``.
        num_heads: Attention heads.
    """

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__()
        norm = dict(type='LN', eps=1e-6)
        self.norm1 = build_norm_layer(norm, embed_dims)
        self.attn = ClassAttention(embed_dims, num_heads, qkv_bias=True)
        self.norm2 = build_norm_layer(norm, embed_dims)
        self.ffn = FFN(embed_dims, 4 * embed_dims, act_cfg=dict(type='GELU'))

    def forward(
        self,
        x: Tensor,
        query: Tensor,
        memory: Tensor,
        visible: Tensor,
        index: Tensor | None = None,
    ) -> Tensor:
        """Add to every token of ``x`` what the query gathered, then run the MLP.

        Args:
            x: ``(N, any, D)``.
            query: See :class:`ClassAttention`, as are the next three.
            memory: See above.
            visible: See above.
            index: See above.

        Returns:
            The shape of ``x``.
        """
        x = x + self.attn(self.norm1(query), self.norm1(memory), visible, index)
        return self.ffn(self.norm2(x), identity=x)


class LocalAggregation(BaseModule):
    """DMT-JEPA's head: online it mixes the context, its EMA makes the targets.

    Args:
        embed_dims: ``D``.
        num_heads: Attention heads; the encoder's.
        query: What the residual stream of a target starts from: the mean of its
            neighbors (``'selected_mean'``, the paper's figure), the mean of all patches
            of its image (``'image_mean'``, the paper's text), or its own patch
            (``'self_patch'``).
        window: Side of the window that neighbors are chosen from, odd.
        neighbors: ``k``, neighbors of a patch; a corner of a window of 3 has 3 at most.
        released: Repeat two errors of the released code: the target of patch ``n`` of
            image ``b`` starts from the mean of image ``(b * P + n) mod B``, with the
            images of one process, and windows reach over the edges of the image. For
            ``query='image_mean'``.
        init_std: Deviation of the initial weights; the encoder's.

    Raises:
        ValueError: If an option is not one of those above.
    """

    #: Blocks, in the paper's code.
    depth = 2

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        query: str = 'selected_mean',
        window: int = 3,
        neighbors: int = 4,
        released: bool = False,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        if query not in QUERIES:
            raise ValueError(f'query is one of {", ".join(QUERIES)}, not {query!r}')
        if window < 3 or window % 2 == 0:
            raise ValueError(
                f'window={window} has no patch in its center: give 3, 5, 7, ...'
            )
        if not 1 <= neighbors < window * window:
            raise ValueError(
                f'a window of {window} has {window * window - 1} candidates, so '
                f'neighbors is 1 to {window * window - 1}, not {neighbors}'
            )
        if released and query != 'image_mean':
            raise ValueError(
                'released=True repeats errors that the released code makes with the '
                f"mean of an image, not with query={query!r}: set query='image_mean'"
            )
        self.query, self.released = query, released
        self.window, self.neighbors = window, neighbors
        self.init_std = init_std
        self.blocks = ModuleList(
            AggregationBlock(embed_dims, num_heads) for _ in range(self.depth)
        )
        self.norm = build_norm_layer(dict(type='LN', eps=1e-6), embed_dims)

    def init_weights(self) -> None:
        """Initialize as the encoder; a second call changes nothing."""
        if self._is_init:
            return
        init_transformer(self, self.init_std)
        self._is_init = True

    def forward(self, context: Tensor, plan: PredictionPlan) -> Tensor:
        """Mix the context of each row: its mean attends, every token gets the result.

        Args:
            context: Context tokens, ``(R, Lc, D)``.
            plan: The plan that they were encoded under.

        Returns:
            ``(R, Lc, D)``; padding slots mean nothing.
        """
        real = plan.context_ids >= 0
        for block in self.blocks:
            with torch.autocast(context.device.type, enabled=False):
                mean = plan.pool_context(as_float32(context))
            # (B, R / B, D) -> (R, 1, D)
            mean = mean.flatten(0, 1)[:, None]
            context = block(context, mean, context, real)
        return self.norm(context)

    def targets(
        self, tokens: Tensor, grid: tuple[int, int], plan: PredictionPlan
    ) -> Tensor:
        """Aggregate the neighbors of each target patch.

        Args:
            tokens: Target-encoder tokens of full images, normalized, ``(B, P, D)``.
            grid: Rows and columns of patches.
            plan: Names the target patches; nothing is made for others.

        Returns:
            ``(R, Lt, D)``; padding slots mean nothing.
        """
        batch, patches = tokens.shape[:2]
        chosen = semantic_neighbors(
            tokens, grid, self.window, self.neighbors, self.released
        )
        # patches are numbered over all images from here on; N = R * Lt targets
        place = torch.arange(batch * patches, device=tokens.device)
        place = place.view(batch, patches, 1)
        # (B, P, ...) -> (R, Lt, ...) -> (N, ...)
        place = plan.gather(place, plan.target_ids).flatten()
        chosen = plan.gather(chosen, plan.target_ids).flatten(0, 1)  # (N, k)
        real = chosen >= 0
        index = (place // patches * patches)[:, None] + chosen.clamp(min=0)
        memory = tokens.flatten(0, 1)  # (B, P, D) -> (B * P, D)

        if self.query == 'self_patch':
            state = memory[place]  # (N, D)
        elif self.query == 'selected_mean':
            state = (memory[index] * real[..., None]).sum(1) / real.sum(1, keepdim=True)
        else:
            image = place % batch if self.released else place // patches
            state = tokens.mean(1)[image]
        state = state[:, None]  # (N, D) -> (N, 1, D)
        for block in self.blocks:
            state = block(state, state, memory, real, index)
        # (N, 1, D) -> (N, D) -> (R, Lt, D)
        return self.norm(state).squeeze(1).unflatten(0, plan.target_ids.shape)
