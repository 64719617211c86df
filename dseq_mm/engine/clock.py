"""The clock: everything that changes over training follows the same progress."""

from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.dataset import ClassBalancedDataset, RepeatDataset
from mmengine.dist import broadcast_object_list
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import IterBasedTrainLoop
from torch import nn

from ..clock import TrainingClock
from ..models.ema import TargetEncoder
from ..registry import HOOKS
from .schedules import apply_schedules, schedule_warnings


def progress_of(runner) -> float:
    """Tell the share of the planned images that were trained on.

    Args:
        runner: A runner in training.

    Returns:
        0 at the first iteration, below 1 at the last. Of a loop that does not count
        images it is the share of the iterations.
    """
    progress = getattr(runner.train_loop, 'progress', None)
    return runner.iter / max(runner.max_iters, 1) if progress is None else progress


@HOOKS.register_module()
class ClockHook(Hook):
    """Tell schedules, model and data set what time it is.

    Before each iteration it sets what the :class:`Schedule` objects of
    ``param_scheduler`` look after, and gives the model a
    :class:`~dseq_mm.clock.TrainingClock`, which keyed draws follow. Nothing here is
    state: all of it is a function of seed and place of the loop, so a resumed run sees
    the same clock as one that never stopped.
    """

    priority = 'HIGHEST'  # the log shows the settings of the iteration that begins
    #: Seed of the run, the same on all processes.
    seed = 0

    def before_train(self, runner) -> None:
        """Hand the run's seed to data sets without one; refuse wrong trainings.

        Args:
            runner: The runner.

        Raises:
            ValueError: If masks are keyed by epochs that the loop does not count,
                nothing moves the model's target encoder, or images are repeated within
                an epoch.
        """
        lengths = runner.max_epochs, runner.max_iters
        for line in schedule_warnings(all_schedulers(runner), *lengths):
            runner.logger.warning(line)
        model_parts = list(unwrap(runner.model).modules())
        datasets = list(_walk(runner.train_dataloader.dataset))
        keyed = any(hasattr(part, 'set_epoch') for part in datasets)
        if keyed or hasattr(unwrap(runner.model), 'clock'):
            _check_epochs(runner, datasets)
        _check_target_encoder(runner, model_parts)
        seed = [runner.seed]  # with diff_rank_seed each process has its own
        broadcast_object_list(seed)
        self.seed = seed[0]
        for dataset in datasets:
            if getattr(dataset, 'seed', 0) is None:
                dataset.seed = self.seed

    def before_train_epoch(self, runner) -> None:
        """Give the data set the epoch, before its workers read the first image.

        Args:
            runner: The runner.
        """
        for dataset in _walk(runner.train_dataloader.dataset):
            if hasattr(dataset, 'set_epoch'):
                dataset.set_epoch(runner.epoch)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Set the schedules; give the model the clock.

        Args:
            runner: The runner.
            batch_idx: Unused.
            data_batch: Unused.
        """
        progress = progress_of(runner)
        apply_schedules(
            all_schedulers(runner), progress, runner.max_epochs, runner.max_iters
        )
        clock = TrainingClock(runner.epoch, runner.iter, progress, self.seed)
        unwrap(runner.model).clock = clock


def unwrap(model: nn.Module) -> Any:
    """Find the algorithm inside a distributed wrapper.

    Args:
        model: The runner's model.

    Returns:
        The algorithm itself.
    """
    return model.module if is_model_wrapper(model) else model


def all_schedulers(runner) -> Sequence:
    """List the schedulers of a runner, of several optimizers too.

    Args:
        runner: The runner.

    Returns:
        The schedulers.
    """
    schedulers = runner.param_schedulers or []
    if isinstance(schedulers, dict):
        return [item for items in schedulers.values() for item in items]
    return schedulers


def _check_epochs(runner, datasets: Sequence) -> None:
    """Refuse loops without epochs, and images that come several times in one."""
    if isinstance(runner.train_loop, IterBasedTrainLoop):
        raise ValueError(
            'masks and crops are keyed by the epoch, which an iteration-based loop '
            "does not count: use train_cfg = dict(type='ResumableTrainLoop', ...)"
        )
    sampler = getattr(runner.train_dataloader, 'sampler', None)
    for part in (*datasets, sampler):
        repeats = isinstance(part, RepeatDataset | ClassBalancedDataset)
        if repeats or getattr(part, 'num_repeats', 1) > 1:
            raise ValueError(
                f'{type(part).__name__} shows an image several times in an epoch, '
                'and crops and masks are keyed by the epoch: every repetition '
                'would be the same. Leave it out; to train longer, raise '
                'train_cfg.max_epochs.'
            )


def _check_target_encoder(runner, model_parts: Sequence) -> None:
    """Refuse an EMA copy that would stand still."""
    from .hooks import TargetEncoderHook

    moved = any(isinstance(hook, TargetEncoderHook) for hook in runner.hooks)
    if not moved and any(isinstance(part, TargetEncoder) for part in model_parts):
        raise ValueError(
            'nothing moves the target encoder of this model: add default_hooks='
            "dict(target_encoder=dict(type='TargetEncoderHook'))"
        )


def _walk(dataset) -> Iterator:
    """A data set and all that it wraps: sliced, concatenated, ..."""
    yield dataset
    inner = getattr(dataset, 'dataset', None)
    for part in getattr(dataset, 'datasets', [] if inner is None else [inner]):
        yield from _walk(part)
