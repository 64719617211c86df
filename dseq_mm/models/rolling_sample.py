"""The features of the last images, for what cannot be told from one batch.

Shape legend: ``B`` images, ``n`` of the sample, ``P`` patches, ``k`` of them, ``D``
channels.
"""

import torch
from torch import Tensor

from ..utils.values import check_counts


class RollingSample:
    """Keep pooled features and some patches of the last images, on their device.

    Nothing is waited for, and it is no part of a checkpoint: it fills again within a
    few steps.

    Args:
        size: Images to keep.
        patches: Patches of each, at the same places in all.
    """

    def __init__(self, size: int = 512, patches: int = 8) -> None:
        check_counts(self, size=size, patches=patches)
        self.size, self.patches = size, patches
        self._rows: Tensor | None = None  # (n, 1 + k, D), oldest first
        self._next = 0
        self.seen = 0

    @torch.no_grad()
    def add(self, tokens: Tensor) -> None:
        """Take the images of a batch; of more than ``size`` the last ones.

        Args:
            tokens: Patch tokens, ``(B, P, D)``.
        """
        tokens = tokens.detach()[-self.size :]
        last = tokens.shape[1] - 1
        count = min(self.patches, last + 1)
        places = [round(i * last / max(count - 1, 1)) for i in range(count)]
        pooled = tokens.float().mean(1, keepdim=True)  # (B, 1, D)
        rows = torch.cat([pooled, tokens[:, places].float()], dim=1)  # (B, 1 + k, D)
        if self._rows is None or self._rows.shape[1:] != rows.shape[1:]:
            self._rows = rows.new_empty(self.size, *rows.shape[1:])
            self._next = self.seen = 0
        first = min(len(rows), self.size - self._next)
        self._rows[self._next : self._next + first] = rows[:first]
        self._rows[: len(rows) - first] = rows[first:]  # round the end
        self._next = (self._next + len(rows)) % self.size
        self.seen += len(rows)

    def rows(self, size: int) -> tuple[Tensor, Tensor]:
        """Give the last images.

        Args:
            size: How many, at most ``min(seen, self.size)``.

        Returns:
            Pooled features ``(size, D)`` and patches ``(size, k, D)``, float32.
        """
        assert self._rows is not None and size <= min(self.seen, self.size)
        index = (self._next - size + torch.arange(size)) % self.size
        rows = self._rows[index.to(self._rows.device)]  # (size, 1 + k, D)
        return rows[:, 0], rows[:, 1:]
