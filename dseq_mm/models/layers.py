"""MMPretrain's transformer layer, taught to take a visibility mask.

The stock ``MultiheadAttention.forward`` accepts no mask. These subclasses add one and
nothing else: parameters, their names and the unmasked result stay the host's.

Shape legend: ``R`` plan rows, ``L`` token slots, ``T`` real tokens of all rows, ``D``
channels, ``h`` heads, ``d = D / h``.
"""

import contextlib
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule, PretrainedInit, initialize
from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer
from mmpretrain.models.utils import (
    MultiheadAttention,
    build_2d_sincos_position_embedding,
)
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from ..utils.values import check_counts, check_rates
from ..visibility import Visibility

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # before PyTorch 2.10
    varlen_attn = None  # type: ignore[assignment]

#: Kernels of masked attention. cuDNN's is left out: its backward pass gives NaN with a
#: mask of some lengths (PyTorch's issue 196678).
KERNELS = [
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]


class MaskedAttention(MultiheadAttention):
    """Multi-head self-attention under a boolean visibility mask."""

    def forward(self, x: Tensor, visible: Visibility | None = None) -> Tensor:
        """Attend.

        Args:
            x: ``(T, D)``, packed; ``(R, L, D)`` if ``visible`` is None or unpacked.
            visible: Who sees whom; None lets all see all.

        Returns:
            The shape of ``x``.
        """
        qkv = self.qkv(x)
        if visible is not None and visible.starts is not None:
            mixed = self._attend_packed(qkv, visible.starts, visible.mask.shape[1])
            return self.out_drop(self.gamma1(self.proj_drop(self.proj(mixed))))
        qkv = qkv if visible is None else visible.pad(qkv)  # (R, L, 3 * D)
        query, key, value = self._split_heads(qkv)
        with contextlib.nullcontext() if visible is None else sdpa_kernel(KERNELS):
            mixed = F.scaled_dot_product_attention(
                query,
                key,
                value,
                attn_mask=None if visible is None else visible.mask[:, None],
                dropout_p=self.attn_drop if self.training else 0.0,
            )
        # (R, h, L, d) -> (R, L, h * d)
        mixed = mixed.transpose(1, 2).flatten(2)
        mixed = mixed if visible is None else visible.pack(mixed)  # (T, D)
        return self.out_drop(self.gamma1(self.proj_drop(self.proj(mixed))))

    def _attend_packed(self, qkv: Tensor, starts: Tensor, longest: int) -> Tensor:
        """Attend within each row of packed tokens, ``(T, 3 * D) -> (T, D)``."""
        if self.training and self.attn_drop:
            raise ValueError('varlen=True has no dropout of attention: leave one out')
        if varlen_attn is None or not qkv.is_cuda or qkv.element_size() != 2:
            raise ValueError(
                'varlen=True needs PyTorch 2.10 or later, a CUDA device and half '
                f'precision, this is {torch.__version__}, {qkv.device.type} and '
                f'{qkv.dtype}: leave it out'
            )
        # (T, 3 * D) -> (T, 3, h, d) -> three of (T, h, d)
        parts = qkv.unflatten(-1, (3, self.num_heads, self.head_dims)).unbind(1)
        query, key, value = parts
        lengths: Any = starts, starts, longest, longest
        mixed: Any = varlen_attn(query, key, value, *lengths)
        return mixed.flatten(1)  # (T, h, d) -> (T, h * d)

    def first_token_attention(self, x: Tensor) -> Tensor:
        """Compute the attention of the first token to every token, mean over heads.

        Args:
            x: ``(R, L, D)``, normalized as for :meth:`forward`.

        Returns:
            ``(R, L)``, float32, rows sum to one.
        """
        return self.first_token_attention_by_head(x).mean(1)

    def first_token_attention_by_head(self, x: Tensor) -> Tensor:
        """Compute the attention of the first token to every token.

        Args:
            x: ``(R, L, D)``, normalized as for :meth:`forward`.

        Returns:
            ``(R, h, L)``, float32, rows sum to one.
        """
        query, key, _ = self._split_heads(self.qkv(x))
        query, key = query[:, :, :1].float(), key.float()
        with torch.autocast(x.device.type, enabled=False):
            scores = query @ key.transpose(-2, -1)  # (R, h, 1, L)
        return (scores * self.head_dims**-0.5).softmax(-1).squeeze(2)

    def _split_heads(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each ``(R, h, L, d)``."""
        # (R, L, 3 * D) -> (R, L, 3, h, d) -> three of (R, L, h, d)
        parts = qkv.unflatten(-1, (3, self.num_heads, self.head_dims)).unbind(2)
        query, key, value = (part.transpose(1, 2) for part in parts)
        return query, key, value


class MaskedEncoderLayer(TransformerEncoderLayer):
    """Pre-norm transformer layer whose attention obeys a visibility mask.

    Its arguments are the host's.

    Raises:
        ValueError: If a size or a rate is out of range.
    """

    attention_type = MaskedAttention

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int,
        layer_scale_init_value: float = 0.0,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        qkv_bias: bool = True,
        **kwargs,
    ) -> None:
        check_counts(
            self,
            embed_dims=embed_dims,
            num_heads=num_heads,
            feedforward_channels=feedforward_channels,
        )
        check_rates(
            self,
            drop_rate=drop_rate,
            attn_drop_rate=attn_drop_rate,
            drop_path_rate=drop_path_rate,
        )
        super().__init__(
            embed_dims,
            num_heads,
            feedforward_channels,
            layer_scale_init_value=layer_scale_init_value,
            drop_rate=drop_rate,
            attn_drop_rate=attn_drop_rate,
            drop_path_rate=drop_path_rate,
            qkv_bias=qkv_bias,
            **kwargs,
        )
        self.attn = self.attention_type(
            embed_dims=embed_dims,
            num_heads=num_heads,
            attn_drop=attn_drop_rate,
            proj_drop=drop_rate,
            dropout_layer=dict(type='DropPath', drop_prob=drop_path_rate),
            qkv_bias=qkv_bias,
            layer_scale_init_value=layer_scale_init_value,
        )

    def forward(self, x: Tensor, visible: Visibility | None = None) -> Tensor:
        """Run the layer.

        Args:
            x: ``(T, D)`` or ``(R, L, D)``, see :class:`MaskedAttention`.
            visible: Who sees whom; None lets all see all.

        Returns:
            The shape of ``x``.
        """
        x = x + self.attn(self.ln1(x), visible)
        return self.ffn(self.ln2(x), identity=x)


def run_layers(
    layers: Iterable[nn.Module],
    tokens: Tensor,
    visible: Visibility,
    with_cp: bool = False,
    varlen: bool = False,
) -> Tensor:
    """Run transformer layers on the real tokens of a plan.

    Args:
        layers: The layers.
        tokens: ``(R, L, D)``.
        visible: Who sees whom.
        with_cp: Recompute each layer in the backward pass instead of keeping what it
            needs there.
        varlen: Attend without padding where nothing is hidden inside of a row, as in
            I-JEPA: on a CUDA device in half precision.

    Returns:
        ``(R, L, D)``, zero at padding.
    """
    if not varlen:
        visible = visible._replace(starts=None)
    kind, dtype = tokens.device.type, tokens.dtype
    available = torch.amp.is_autocast_available(kind)  # not on meta
    if available and torch.is_autocast_enabled(kind) and dtype != torch.float64:
        dtype = torch.get_autocast_dtype(kind)
    visible = visible.additive(dtype)
    tokens = visible.pack(tokens)  # (T, D)
    for layer in layers:
        if with_cp and torch.is_grad_enabled():
            tokens = checkpoint(layer, tokens, visible, use_reentrant=False)
        else:
            tokens = layer(tokens, visible)
    return visible.pad(tokens)


def compile_all_layers(model: nn.Module) -> None:
    """Let ``torch.compile`` make one kernel of many in each transformer layer.

    The parameters and their names stay. Layers of one kind share a graph, which is for
    any number of rows, slots and tokens.

    Args:
        model: Its layers are changed in place.
    """
    for part in model.modules():
        if isinstance(part, MaskedEncoderLayer):
            part.compile(dynamic=True)


def sincos_position_embedding(
    grid: tuple[int, int], dims: int, cls_token: bool = False
) -> Tensor:
    """Compute the fixed 2-D sine-cosine embedding of a raster-ordered grid.

    The host's function enumerates an oblong grid column by column; handing it the
    sides swapped makes it run row by row, as patch tokens do.

    Args:
        grid: Rows and columns of patches.
        dims: Channels, a multiple of 4.
        cls_token: Put a zero embedding for the class token in front.

    Returns:
        ``(1, P, D)``, or ``(1, 1 + P, D)``.
    """
    rows, columns = grid
    return build_2d_sincos_position_embedding(
        (columns, rows), dims, cls_token=cls_token
    )


def init_transformer(module: nn.Module, std: float) -> None:
    """Initialize as I-JEPA's released code does in effect.

    Normal weights, zero biases. Its `trunc_normal_` cuts at the values -2 and 2, not at
    two deviations: at a deviation of 0.02 nothing is ever cut. (Its division of the
    last projection of each branch by depth is undone by a later step there, so the
    published results were obtained without.)

    Args:
        module: An encoder or a predictor, changed in place.
        std: Standard deviation; I-JEPA's is 0.02.
    """
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            nn.init.trunc_normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.LayerNorm):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)


def apply_init_cfg(module: BaseModule) -> None:
    """Apply ``init_cfg`` after a module's own initialization, ``Pretrained`` last.

    MMEngine's order, without the initialization of the parts.

    Args:
        module: Changed in place; from here on it counts as initialized.
    """
    configs = module.init_cfg or []
    configs = [configs] if isinstance(configs, dict) else configs
    initialize(
        module,
        sorted(configs, key=lambda cfg: cfg['type'] in ('Pretrained', PretrainedInit)),
    )
    module.is_init = True


def as_float32(x: Tensor) -> Tensor:
    """Convert to float32 for statistics; float64 stays what it is.

    Args:
        x: Any floating tensor.

    Returns:
        The same values, in at least single precision.
    """
    return x if x.dtype == torch.float64 else x.float()
