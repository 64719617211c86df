"""Attention inside windows, for feature maps too large for attention over all of them.

The parameters are those of the layers that were pre-trained; nothing is added.

Shape legend: ``B`` images, ``P = H * W`` patches, ``K`` class tokens (0 or 1),
``L = K + P``, ``D`` channels, ``h`` heads, ``d = D / h``, ``n = r * c`` windows of
``S = u * v`` patches.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .layers import MaskedAttention, MaskedEncoderLayer


class Windows(NamedTuple):
    """How a grid of patches is cut into windows.

    Windows start at the top left; those at the bottom and at the right are padded. A
    window never exceeds the grid.

    Args:
        grid: Rows and columns of patches, ``(H, W)``.
        size: Side of a window in patches.
        extra: Class tokens in front of the patches, ``K``.
    """

    grid: tuple[int, int]
    size: int
    extra: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of patches in a window, ``(u, v)``."""
        return min(self.size, self.grid[0]), min(self.size, self.grid[1])

    @property
    def counts(self) -> tuple[int, int]:
        """Rows and columns of windows, ``(r, c)``."""
        (height, width), (u, v) = self.grid, self.shape
        return -(-height // u), -(-width // v)

    def split(self, tokens: Tensor) -> Tensor:
        """Cut patch tokens into windows.

        Args:
            tokens: ``(B, h, P, d)``.

        Returns:
            ``(B * n, h, S, d)``, zero at padding, the windows of an image in a row.
        """
        (height, width), (u, v), (r, c) = self.grid, self.shape, self.counts
        # (B, h, P, d) -> (B, h, H, W, d) -> (B, h, r * u, c * v, d)
        tokens = tokens.unflatten(2, self.grid)
        tokens = F.pad(tokens, (0, 0, 0, c * v - width, 0, r * u - height))
        # -> (B, h, r, u, c, v, d) -> (B, r, c, h, u, v, d)
        tokens = tokens.unflatten(3, (c, v)).unflatten(2, (r, u))
        tokens = tokens.permute(0, 2, 4, 1, 3, 5, 6)
        return tokens.flatten(4, 5).flatten(0, 2)  # (B * n, h, S, d)

    def join(self, tokens: Tensor) -> Tensor:
        """Undo :meth:`split`.

        Args:
            tokens: ``(B * n, h, S, d)``.

        Returns:
            ``(B, h, P, d)``.
        """
        (height, width), (r, c) = self.grid, self.counts
        # (B * n, h, S, d) -> (B, r, c, h, u, v, d) -> (B, h, r, u, c, v, d)
        tokens = tokens.unflatten(2, self.shape).unflatten(0, (-1, r, c))
        tokens = tokens.permute(0, 3, 1, 4, 2, 5, 6)
        # -> (B, h, r * u, c * v, d) -> (B, h, H, W, d) -> (B, h, P, d)
        tokens = tokens.flatten(4, 5).flatten(2, 3)
        return tokens[:, :, :height, :width].flatten(2, 3)

    def split_keys(self, tokens: Tensor) -> Tensor:
        """Cut keys or values into windows, each with the class token in front.

        Args:
            tokens: ``(B, h, L, d)``.

        Returns:
            ``(B * n, h, K + S, d)``.
        """
        first, patches = tokens.split([self.extra, tokens.shape[2] - self.extra], 2)
        r, c = self.counts
        # (B, h, K, d) -> (B * n, h, K, d)
        first = first.repeat_interleave(r * c, dim=0)
        return torch.cat([first, self.split(patches)], dim=2)

    def visible_keys(self, batch: int, device: torch.device) -> Tensor | None:
        """Tell which keys are no padding.

        Args:
            batch: ``B``.
            device: Where the mask goes.

        Returns:
            ``(B * n, 1, 1, K + S)``, bool; None where nothing is padded.
        """
        if all(s % w == 0 for s, w in zip(self.grid, self.shape, strict=True)):
            return None
        length = self.extra + self.grid[0] * self.grid[1]
        real = torch.ones(1, 1, length, 1, device=device)
        real = self.split_keys(real).transpose(2, 3) > 0  # (n, 1, 1, K + S)
        return real.repeat(batch, 1, 1, 1)


class WindowedAttention(MaskedAttention):
    """Multi-head self-attention inside windows.

    A patch sees the patches of its window and the class token; the class token sees
    everything. With one window it is attention over all tokens.
    """

    def forward(  # type: ignore[override]  # another pattern than a plan's visibility
        self, x: Tensor, windows: Windows | None = None
    ) -> Tensor:
        """Attend.

        Args:
            x: ``(B, L, D)``.
            windows: How the grid is cut; None lets all see all.

        Returns:
            ``(B, L, D)``.
        """
        if windows is None:
            return super().forward(x)
        query, key, value = self._split_heads(self.qkv(x))  # each (B, h, L, d)
        dropout = self.attn_drop if self.training else 0.0
        mixed = F.scaled_dot_product_attention(
            windows.split(query[:, :, windows.extra :]),
            windows.split_keys(key),
            windows.split_keys(value),
            attn_mask=windows.visible_keys(len(x), x.device),
            dropout_p=dropout,
        )
        mixed = windows.join(mixed)  # (B, h, P, d)
        if windows.extra:
            first = F.scaled_dot_product_attention(
                query[:, :, : windows.extra], key, value, dropout_p=dropout
            )
            mixed = torch.cat([first, mixed], dim=2)  # (B, h, L, d)
        # (B, h, L, d) -> (B, L, h * d)
        mixed = mixed.transpose(1, 2).flatten(2)
        return self.out_drop(self.gamma1(self.proj_drop(self.proj(mixed))))


class WindowedEncoderLayer(MaskedEncoderLayer):
    """Pre-norm transformer layer with :class:`WindowedAttention`."""

    attention_type = WindowedAttention
