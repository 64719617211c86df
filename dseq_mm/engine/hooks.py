"""Hooks own time: the clock of the masks, the EMA of the target encoder, the guard."""

from collections.abc import Iterator

from mmengine.dataset import ClassBalancedDataset, RepeatDataset
from mmengine.dist import broadcast_object_list
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import IterBasedTrainLoop
from mmpretrain.registry import HOOKS
from torch import nn

from ..models.ema import TargetEncoder
from ..models.jepa import TrainingClock
from ..transfer.initialize import compare_keys, state_dict_of
from .optim_wrapper import GuardedOptimWrapper


@HOOKS.register_module()
class ClockHook(Hook):
    """Tell model and data set what time it is, so that keyed draws can follow.

    Nothing here is state: epoch and iteration are the runner's, so a resumed run sees
    the same clock as one that never stopped.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner) -> None:
        """Hand the run's seed to parts without one; refuse what would train wrongly.

        Args:
            runner: The runner.

        Raises:
            ValueError: If the training loop counts iterations only, nothing moves the
                model's target encoder, or images are repeated within an epoch.
        """
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            raise ValueError(
                'masks and crops are keyed by the epoch, which an iteration-based loop '
                "does not count: use train_cfg = dict(type='EpochBasedTrainLoop', ...)"
            )
        model_parts = list(unwrap(runner.model).modules())
        moved = any(isinstance(hook, TargetEncoderHook) for hook in runner.hooks)
        if not moved and any(isinstance(part, TargetEncoder) for part in model_parts):
            raise ValueError(
                'nothing moves the target encoder of this model: add default_hooks='
                "dict(target_encoder=dict(type='TargetEncoderHook'))"
            )
        datasets = list(_walk(runner.train_dataloader.dataset))
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
        seed = [runner.seed]  # with diff_rank_seed each process has its own
        broadcast_object_list(seed)
        for part in (*model_parts, *datasets):
            if getattr(part, 'seed', 0) is None:
                part.seed = seed[0]

    def before_train_epoch(self, runner) -> None:
        """Give the data set the epoch, before its workers read the first image.

        Args:
            runner: The runner.
        """
        for dataset in _walk(runner.train_dataloader.dataset):
            if hasattr(dataset, 'set_epoch'):
                dataset.set_epoch(runner.epoch)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Give the model epoch, iteration and progress.

        Args:
            runner: The runner.
            batch_idx: Unused.
            data_batch: Unused.
        """
        last = max(runner.max_iters - 1, 1)
        unwrap(runner.model).clock = TrainingClock(
            runner.epoch, runner.iter, runner.iter / last
        )


def _walk(dataset) -> Iterator:
    """A data set and all that it wraps: sliced, concatenated, ..."""
    yield dataset
    inner = getattr(dataset, 'dataset', None)
    for part in getattr(dataset, 'datasets', [] if inner is None else [inner]):
        yield from _walk(part)


@HOOKS.register_module()
class TargetEncoderHook(Hook):
    """Update EMA copies once after each *optimizer* step.

    Works for any algorithm with a :class:`TargetEncoder` called ``target_encoder``
    beside its ``backbone``. One with other copies, or more, says so in an attribute
    ``averages``: name of each copy to name of what it averages. Under gradient
    accumulation, iterations that do not step do not move them.
    """

    priority = 'HIGH'

    def before_train(self, runner) -> None:
        """Tell the target encoders how many updates the training has.

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
        accumulated = runner.optim_wrapper._accumulative_counts
        for copy in averages:
            getattr(model, copy).total_steps = -(-runner.max_iters // accumulated)

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
            for copy, source in _averages(model).items():
                getattr(model, copy).update_parameters(getattr(model, source))


def _averages(model: nn.Module) -> dict[str, str]:
    """EMA copies of an algorithm, and what each averages."""
    return getattr(model, 'averages', dict(target_encoder='backbone'))


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Name the files of each batch to :class:`GuardedOptimWrapper`, and let no
    checkpoint be written before its last flag was read.
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
        """Refuse to save after a bad update.

        Args:
            runner: The runner.
            checkpoint: Unused.
        """
        if isinstance(runner.optim_wrapper, GuardedOptimWrapper):
            runner.optim_wrapper.raise_if_nonfinite()


@HOOKS.register_module()
class StrictCheckpointHook(Hook):
    """Refuse a checkpoint that does not fit the model, before anything is loaded.

    The host warns and goes on: with the weights that happen to fit, and with an
    optimizer state of other shapes.
    """

    priority = 'VERY_HIGH'

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Compare keys and shapes, on resume and on ``load_from``.

        Args:
            runner: The runner.
            checkpoint: What was read.

        Raises:
            ValueError: If a key or a shape differs, with the report.
        """
        wanted = unwrap(runner.model).state_dict()
        report = compare_keys(wanted, state_dict_of(checkpoint), 'whole')
        if len(report.matched) != len(wanted) or report.unexpected:
            raise ValueError(
                'the checkpoint does not fit the model of this config; nothing was '
                f'loaded.\n{report}\nUse the config that the checkpoint was trained '
                'with. To start a model from the backbone alone, export it '
                '(tools/export_backbone.py) and set init_cfg=dict('
                "type='StrictPretrained', ...) in the backbone."
            )


def image_files(data_batch) -> list[str]:
    """Image files of a batch, as far as its samples know them.

    Args:
        data_batch: A batch with ``data_samples``, or anything.

    Returns:
        Paths, or an empty list.
    """
    samples = data_batch.get('data_samples', ()) if isinstance(data_batch, dict) else ()
    return [str(sample.get('img_path', 'unknown')) for sample in samples]


def unwrap(model: nn.Module) -> nn.Module:
    """The algorithm inside a distributed wrapper.

    Args:
        model: The runner's model.

    Returns:
        The algorithm itself.
    """
    return model.module if is_model_wrapper(model) else model
