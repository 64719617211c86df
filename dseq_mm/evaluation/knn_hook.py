"""kNN accuracy while a model pre-trains."""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS
from torch import nn

from ..engine.clock import unwrap
from ..engine.preemption import shield_workers
from .features import build_loader, extract_features
from .knn import knn_metrics


@contextlib.contextmanager
def preserved_randomness() -> Iterator[None]:
    """Puts the global random generators back where they were.

    Yields:
        Nothing.
    """
    python, numpy = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@HOOKS.register_module()
class KNNHook(Hook):
    """Measures the frozen backbone every few epochs and after the last one.

    All processes extract features of their shards. It logs ``knn_last``,
    ``knn_last4``, ``rank_me`` and ``feature_std``; the training goes on as if it had
    not been there. It works with any algorithm of mmpretrain that has a ``backbone``.

    Args:
        bank: Dataloader config of the images with known classes.
        query: Dataloader config of the images to classify.
        interval: Epochs from one evaluation to the next.
        encoder: 'target' takes the EMA target encoder where the algorithm has one;
            'context' or None takes ``model.backbone``.
        k: Number of neighbors.
        temperature: Of the votes.
        bank_fraction: Share of the bank to use: a random subset, always the same.

    Raises:
        ValueError: ``encoder`` or ``interval`` is not one of those.
    """

    def __init__(
        self,
        bank: dict,
        query: dict,
        interval: int = 25,
        encoder: str | None = 'target',
        k: int = 20,
        temperature: float = 0.07,
        bank_fraction: float = 1.0,
    ) -> None:
        if encoder not in ('target', 'context', None):
            raise ValueError(f'encoder is "target", "context" or None, not {encoder!r}')
        if interval < 1:
            raise ValueError(f'interval is a number of epochs from 1, not {interval}')
        self.bank, self.query, self.interval = bank, query, interval
        self.encoder, self.bank_fraction = encoder, bank_fraction
        self.k, self.temperature = k, temperature
        self._loaders: list | None = None
        self._unlabeled = False

    def after_train_epoch(self, runner) -> None:
        """Measures if it is time to.

        Args:
            runner: The runner of the training.
        """
        due = self.every_n_epochs(runner, self.interval)
        if self._unlabeled or not (due or self.is_last_train_epoch(runner)):
            return
        with preserved_randomness():
            metrics = self._measure(runner)
        if metrics is None:
            return
        for name, value in metrics.items():
            runner.message_hub.update_scalar(f'val/{name}', value)
        runner.visualizer.add_scalars(metrics, step=runner.epoch + 1)
        text = ', '.join(f'{name} {value:.4g}' for name, value in metrics.items())
        runner.logger.info(f'Epoch {runner.epoch + 1}: {text}')

    def frozen_backbone(self, model: nn.Module) -> nn.Module:
        """The network to measure.

        Args:
            model: The algorithm, perhaps in a distributed wrapper.

        Returns:
            Its target encoder or its backbone.
        """
        model = unwrap(model)
        if self.encoder == 'target' and hasattr(model, 'target_encoder'):
            return model.target_encoder.module
        return model.backbone

    def _measure(self, runner) -> dict[str, float] | None:
        """The metrics; None, with one log line, if there are no labels."""
        if self._loaders is None:
            self._loaders = [
                build_loader(self.bank, self.bank_fraction),
                build_loader(self.query),
            ]
            for loader in self._loaders:
                shield_workers(loader)
        model = unwrap(runner.model)
        backbone = self.frozen_backbone(model)
        device = next(backbone.parameters()).device
        bank, queries = (
            extract_features(backbone, data, model.data_preprocessor, device)
            for data in self._loaders
        )
        if bank['labels'] is None or queries['labels'] is None:
            self._unlabeled = True
            runner.logger.warning(
                'KNNHook: bank or query has no labels, so there is no kNN accuracy. '
                'The hook switches itself off; give labeled datasets to turn it on.'
            )
            return None
        return knn_metrics(bank, queries, self.k, self.temperature, device)
