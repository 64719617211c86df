"""Hooks around the optimizer step: the EMA of the target encoder, the guard."""

import torch
from mmengine.hooks import Hook
from torch import nn

from ..registry import HOOKS
from .clock import progress_of, unwrap
from .optim_wrapper import GuardedOptimWrapper, NonFiniteLossError


@HOOKS.register_module()
class TargetEncoderHook(Hook):
    """Update EMA copies once after each *optimizer* step.

    Works for any algorithm with a :class:`TargetEncoder` called ``target_encoder``
    beside its ``backbone``. One with other copies, more, or none, says so in an
    attribute ``averages``: name of each copy to name of what it averages. Under
    gradient accumulation, iterations that do not step do not move them.
    """

    priority = 'HIGH'

    def before_train(self, runner) -> None:
        """Check that the model has what is to be moved, and tell it the time.

        Args:
            runner: The runner.

        Raises:
            ValueError: If the model lacks a copy, or what it averages.
        """
        model = unwrap(runner.model)
        averages = _averages(model)
        for name in [*averages, *averages.values()]:
            if not hasattr(model, name):
                raise ValueError(
                    f'TargetEncoderHook: {type(model).__name__} has no {name}. Name '
                    'what it has in an attribute `averages`, or take the hook out of '
                    'default_hooks (with the tools of dseq_mm: target_encoder=None).'
                )
        for copy in averages:
            getattr(model, copy).progress = progress_of(runner)

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        """Update, if the optimizer stepped.

        Args:
            runner: The runner.
            batch_idx: Unused.
            data_batch: Unused.
            outputs: Unused.
        """
        if runner.optim_wrapper.should_update():
            model = unwrap(runner.model)
            momenta = []
            for copy, source in _averages(model).items():
                average = getattr(model, copy)
                average.progress = progress_of(runner)
                average.update_parameters(getattr(model, source))
                momenta.append(getattr(average, 'momentum_now', None))
            if momenta and momenta[0] is not None:
                runner.message_hub.update_scalar('train/ema_momentum', momenta[0])


def _averages(model: nn.Module) -> dict[str, str]:
    """EMA copies of an algorithm, and what each averages."""
    return getattr(model, 'averages', dict(target_encoder='backbone'))


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Name the files of each batch to :class:`GuardedOptimWrapper`, and let no
    checkpoint be written before its last flag was read, nor one that is not finite.
    """

    priority = 'VERY_HIGH'

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Describe the batch.

        Args:
            runner: The runner.
            batch_idx: Unused.
            data_batch: What the data loader gave.
        """
        if isinstance(runner.optim_wrapper, GuardedOptimWrapper):
            runner.optim_wrapper.describe_batch(runner.iter, image_files(data_batch))

    def after_train_epoch(self, runner) -> None:
        """Stop every process after a bad last update, before old checkpoints go.

        Args:
            runner: The runner.
        """
        if isinstance(runner.optim_wrapper, GuardedOptimWrapper):
            runner.optim_wrapper.raise_if_nonfinite()

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Refuse to save after a bad update, or weights that are not finite.

        Args:
            runner: The runner.
            checkpoint: Its weights are looked at, averages and statistics included.

        Raises:
            NonFiniteLossError: If a weight is infinite or NaN.
        """
        if isinstance(runner.optim_wrapper, GuardedOptimWrapper):
            runner.optim_wrapper.raise_if_nonfinite()
        for name, value in checkpoint['state_dict'].items():
            if value.is_floating_point() and not torch.isfinite(value).all():
                raise NonFiniteLossError(
                    f'{name} is infinite or NaN after iteration {runner.iter}: the '
                    'training diverged and no checkpoint was written. Lower the '
                    'learning rate, or train in float32; then continue from the last '
                    'checkpoint with --resume.'
                )


def image_files(data_batch) -> list[str]:
    """List the image files of a batch, as far as its samples know them.

    Args:
        data_batch: A batch with ``data_samples``, or anything.

    Returns:
        Paths, or an empty list.
    """
    samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
    if not isinstance(samples, list | tuple):
        return []
    known = (sample for sample in samples if hasattr(sample, 'get'))
    return [str(sample.get('img_path', 'unknown')) for sample in known]
