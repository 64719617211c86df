"""kNN accuracy while a model pre-trains."""

import contextlib
import math
import random
from collections.abc import Iterator

import numpy as np
import torch
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from torch import nn
from torch.utils.data import DataLoader

from ..engine.clock import unwrap
from ..engine.preemption import shield_workers
from ..registry import HOOKS
from ..utils.command import explain
from .best import check_save_best, keep_best
from .features import evaluation_mode, extract_shard, pooled_blocks, size_of
from .knn import knn_metrics
from .knn_data import KNNData, open_knn_data
from .shards import own_rows

#: Times the pixels that a backbone is made for: not meant, and very slow.
_TOO_LARGE = 16


@contextlib.contextmanager
def preserved_randomness() -> Iterator[None]:
    """Put the global random generators back where they were.

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
    """Measure the frozen backbone every few epochs and after the last one.

    All processes extract features of their shards and keep them. It logs ``knn_last``,
    ``knn_last4``, ``rank_me`` and ``feature_std``; without ``query``, or if the bank
    has no labels, the last two of the bank alone. The training goes on as if it had
    not been there. It works with any algorithm of mmpretrain that has a ``backbone``.

    Data are built and checked before the first epoch. Labels are compared by the names
    of the classes. The epoch's regular checkpoint is written first; a measurement that
    fails is a warning. The checkpoint hook's ``save_best`` may name what is logged,
    where there is no validation; 'auto' is ``knn_last``, or else ``rank_me``.

    Args:
        bank: Dataloader config of the images with known classes.
        query: Dataloader config of the images to classify; None for no kNN.
        interval: Epochs from one evaluation to the next.
        encoder: 'target' takes the EMA target encoder where the algorithm has one;
            'context' or None takes ``model.backbone``.
        k: Number of neighbors.
        temperature: Of the votes.
        bank_fraction: Share of the bank to use: a random subset, always the same.

    Raises:
        ValueError: An argument is out of its range.
    """

    priority = 'LOWEST'  # after the checkpoint is written
    _data: KNNData  # of `before_train`

    def __init__(
        self,
        bank: dict,
        query: dict | None = None,
        interval: int = 25,
        encoder: str | None = 'target',
        k: int = 20,
        temperature: float = 0.07,
        bank_fraction: float = 1.0,
    ) -> None:
        if encoder not in ('target', 'context', None):
            raise ValueError(f'encoder is "target", "context" or None, not {encoder!r}')
        for name, value in dict(interval=interval, k=k).items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f'{name} is a whole number from 1, not {value!r}')
        if not temperature > 0:
            raise ValueError(f'temperature is positive, not {temperature}')
        if not 0 < bank_fraction <= 1:
            raise ValueError(f'bank_fraction is in (0, 1], not {bank_fraction}')
        self.bank, self.query, self.interval = bank, query, interval
        self.encoder, self.bank_fraction = encoder, bank_fraction
        self.k, self.temperature = k, temperature

    def before_train(self, runner) -> None:
        """Build and check the data, and let one image of each through the network.

        Args:
            runner: The runner of the training.

        Raises:
            ValueError: What could not be measured later, or ``save_best`` names what
                is not measured.
        """
        with preserved_randomness():
            self._data = open_knn_data(
                self.bank, self.query, self.bank_fraction, self.k
            )
            for name, loader in self._loaders().items():
                try:
                    self._try(runner.model, loader)
                except Exception as error:
                    raise ValueError(
                        f"KNNHook's {name}: its first image does not go through the "
                        f'network: {explain(error)}'
                    ) from error
                shield_workers(loader)
        for note in self._data.notes:
            runner.logger.info(note)
        check_save_best(runner, self._names())

    def after_train_epoch(self, runner) -> None:
        """Measure if it is time to.

        Args:
            runner: The runner of the training.
        """
        due = self.every_n_epochs(runner, self.interval)
        if not (due or self.is_last_train_epoch(runner)):
            return
        with preserved_randomness():
            metrics, reason = self._measure(runner)
        if metrics is None:
            runner.logger.warning(
                f'KNNHook could not measure epoch {runner.epoch + 1}, the training '
                f'goes on: {reason}'
            )
            return
        for name, value in metrics.items():
            runner.message_hub.update_scalar(f'val/{name}', value)
        runner.visualizer.add_scalars(metrics, step=runner.epoch + 1)
        text = ', '.join(f'{name} {value:.4g}' for name, value in metrics.items())
        runner.logger.info(f'Epoch {runner.epoch + 1}: {text}')
        keep_best(runner, metrics)

    def frozen_backbone(self, model: nn.Module) -> nn.Module:
        """Find the network to measure.

        Args:
            model: The algorithm, perhaps in a distributed wrapper.

        Returns:
            Its target encoder or its backbone.
        """
        algorithm = unwrap(model)
        if self.encoder == 'target' and hasattr(algorithm, 'target_encoder'):
            return algorithm.target_encoder.module
        return algorithm.backbone

    def _loaders(self) -> dict[str, DataLoader]:
        loaders = dict(bank=self._data.bank, query=self._data.query)
        return {name: loader for name, loader in loaders.items() if loader is not None}

    def _names(self) -> list[str]:
        """What is measured, the most telling first."""
        spread = ['rank_me', 'feature_std']
        if self._data.query is None:
            return spread
        names = ['knn_last', 'knn_last4']
        if self._data.several_classes is not False:
            names += [f'{name}_top5' for name in names]
        return names + spread

    def _extract(self, model: nn.Module, batches) -> dict:
        """Features of batches, in this process."""
        backbone = self.frozen_backbone(model)
        preprocessor = unwrap(model).data_preprocessor
        device = next(backbone.parameters()).device
        with evaluation_mode(backbone, preprocessor):
            return extract_shard(
                lambda images: pooled_blocks(backbone, images),
                batches,
                preprocessor,
                device,
            )

    def _try(self, model: nn.Module, loader: DataLoader) -> None:
        """Let the first image through the network, unless it is far too large."""
        sample = loader.dataset[0]
        made_for = getattr(self.frozen_backbone(model), 'img_size', None)
        if torch.is_tensor(sample['inputs']) and isinstance(made_for, tuple | list):
            height, width = sample['inputs'].shape[-2:]
            if height * width > _TOO_LARGE * math.prod(made_for):
                raise ValueError(
                    f'it is {width} x {height} after the pipeline, and the backbone is '
                    f'for {made_for[1]} x {made_for[0]}: add a Resize to the pipeline'
                )
        self._extract(model, [loader.collate_fn([sample])])

    def _measure(self, runner) -> tuple[dict[str, float] | None, str | None]:
        """The metrics, or why there are none; the same in all processes.

        No process waits for one that has failed: that is asked before anything is
        compared. Each process keeps its part of the bank, and classifies its queries.
        """
        rows: dict[str, dict] = {}
        reason = None
        try:
            for name, loader in self._loaders().items():
                shard = self._extract(runner.model, loader)
                rows[name] = own_rows(shard, size_of(loader))
                if self._data.query is None:
                    rows[name].pop('labels')
                elif rows[name]['labels'] is None:
                    raise ValueError(f'an image of the {name} has no label')
        except Exception as error:
            reason = failure_line(error)
        failed = [text for text in all_gather_object(reason) if text]
        if failed:
            free_memory()
            return None, failed[0]
        query = self._data.relabel(rows['query']) if 'query' in rows else None
        device = next(self.frozen_backbone(runner.model).parameters()).device
        try:
            settings = (self.k, self.temperature, device)
            return knn_metrics(rows['bank'], query, *settings), None
        except Exception as error:  # bad features are found by all processes at once
            free_memory()
            return None, failure_line(error)


def failure_line(error: Exception) -> str:
    """Say in one line what went wrong in the midst of a training.

    Args:
        error: The error.

    Returns:
        Its type and text.
    """
    lines = str(error).strip().splitlines() or ['']
    # of an error in a data worker the last line is the error, the others its traceback
    text = lines[-1] if ' in DataLoader worker process' in lines[0] else lines[0]
    return f'{type(error).__name__}: {text}'


def free_memory() -> None:
    """Give back what a failed measurement has taken of the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
