"""Refuse a checkpoint that does not fit the run, before anything of it is loaded."""

from collections.abc import Iterator
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from mmpretrain.registry import HOOKS
from torch import Tensor

from ..transfer.initialize import compare_keys, state_dict_of
from .clock import all_schedulers, unwrap
from .loop import ResumableTrainLoop
from .record import (
    Difference,
    batch_size,
    compare_data,
    compare_settings,
    describe_files,
    make_record,
    new_run_id,
    settings_of,
)
from .schedules import Schedule


@HOOKS.register_module()
class StrictCheckpointHook(Hook):
    """Refuse a checkpoint that does not fit, and give each one a record of its run.

    On resume and on ``load_from`` keys, shapes and types of the weights have to be
    those of the model. A resume also compares optimizer state, data, seed and settings
    with the record: what may change (batch, processes, length) goes on at the same
    progress, what the config says otherwise (rates) is applied, both in one line of the
    log; what would make it another experiment is refused. The host would warn and go
    on: with the weights that happen to fit, an optimizer state of other shapes, the old
    rates and the old iterations.

    Args:
        insist: Resume although it is another experiment.
    """

    priority = 'VERY_HIGH'

    def __init__(self, insist: bool = False) -> None:
        self.insist = insist
        self._run_id: str | None = None
        self._files: dict | None = None

    def before_train(self, runner) -> None:
        """Name the run, unless it goes on with another one.

        Args:
            runner: The runner.
        """
        self._run_id = self._run_id or new_run_id()

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Compare, and put the checkpoint's place into the units of this run.

        Args:
            runner: The runner.
            checkpoint: What was read; changed where this run says otherwise.

        Raises:
            ValueError: If something does not fit, with the report.
        """
        _check_model(runner, checkpoint)
        if getattr(runner, '_resume', False):
            self._resume(runner, checkpoint)
            return
        for name, value in checkpoint.get('state_dict', checkpoint).items():
            # the weights start a new training: no copy has been updated yet
            if name.endswith('.steps') and isinstance(value, Tensor):
                value.zero_()

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Add the record.

        Args:
            runner: The runner.
            checkpoint: Its ``meta`` gets the entry ``run``.
        """
        meta, loop = checkpoint['meta'], runner.train_loop
        self._files = self._files or describe_files(runner.train_dataloader.dataset)
        seen = getattr(loop, 'seen', 0)
        if meta['epoch'] > runner.epoch:  # at the end of an epoch
            seen = 0
        elif isinstance(loop, ResumableTrainLoop):
            # at the end of an iteration that the loop has not counted yet, or not
            seen += loop.batch * (meta['iter'] - runner.iter)
            seen = min(seen, self._files['number'])
        elif isinstance(loop, EpochBasedTrainLoop):
            begun = meta['iter'] - meta['epoch'] * len(loop.dataloader)
            batch = batch_size(runner) * runner.world_size
            seen = min(begun * batch, self._files['number'])
        meta['run'] = make_record(
            runner, self._run_id or new_run_id(), self._files, meta['epoch'], seen
        )

    def _resume(self, runner, checkpoint: dict) -> None:
        """Compare a checkpoint that a run goes on from."""
        _check_parts(checkpoint)
        meta = checkpoint['meta']
        record = meta.get('run') or {}
        self._run_id = record.get('id')
        _check_optimizer(runner.optim_wrapper, checkpoint['optimizer'])
        lines = _changed_course(runner, record)
        other = _compare_seed(runner, meta.get('seed'))
        if record:
            self._files = describe_files(runner.train_dataloader.dataset)
            other += compare_data(record['files'], self._files)
            settings, applied = compare_settings(
                record['settings'], settings_of(runner.cfg)
            )
            other += settings
            lines += [str(pair) for pair in applied]
        else:
            runner.logger.warning(
                'The checkpoint has no record of its run: data and settings were not '
                'compared.'
            )
        self._refuse_or_insist(runner, other)
        _check_host_schedulers(runner, lines)
        epoch, seen = _set_place(runner, meta, record, self._files)
        _keep_settings(runner, checkpoint['optimizer'])
        if lines:
            runner.logger.warning(f'Resumed with changes: {"; ".join(lines)}.')
        progress = getattr(runner.train_loop, 'progress', None)
        if progress is not None:
            runner.logger.info(
                f'Resumed at image {seen} of epoch {epoch + 1}; the share of the '
                f'training that is done is {progress:.6f}.'
            )

    def _refuse_or_insist(self, runner, other: list[Difference]) -> None:
        """Refuse another experiment, or say that it is one."""
        if not other:
            return
        said = '; '.join(map(str, other[:6])) + ('; ...' if len(other) > 6 else '')
        if not self.insist:
            raise ValueError(
                f'the checkpoint is of another experiment: {said}. Give the settings '
                'that it was trained with, start a new training from its weights with '
                '--checkpoint, or insist on going on: --insist (default_hooks.strict.'
                'insist=True).'
            )
        runner.logger.warning(f'Another experiment is continued, as asked: {said}.')


def _check_model(runner, checkpoint: dict) -> None:
    """Compare keys, shapes and types of the weights."""
    wanted = unwrap(runner.model).state_dict()
    state = state_dict_of(checkpoint)
    report = compare_keys(wanted, state, 'whole')
    if len(report.matched) != len(wanted) or report.unexpected:
        raise ValueError(
            'the checkpoint does not fit the model of this config; nothing was '
            f'loaded.\n{report}\nUse the config that the checkpoint was trained '
            'with. To start a training from its encoder alone, give it by '
            '--checkpoint PATH.'
        )
    for name, value in wanted.items():
        if state[name].dtype != value.dtype:
            raise ValueError(
                f'the checkpoint does not fit the model of this config: {name} is '
                f'{state[name].dtype} in the file, {value.dtype} in the model; nothing '
                'was loaded'
            )


def _check_parts(checkpoint: dict) -> None:
    """Refuse what holds weights alone."""
    missing = [
        part
        for part in ('meta', 'message_hub', 'optimizer')
        if not isinstance(checkpoint.get(part), dict)
    ]
    place = checkpoint.get('meta') or {}
    if missing or not all(isinstance(place.get(k), int) for k in ('epoch', 'iter')):
        raise ValueError(
            'a training cannot go on from this checkpoint: it has no '
            f'{", ".join(missing) or "epoch and iteration"}. Start a new one from its '
            'weights: --checkpoint PATH instead of --resume.'
        )


def _wrappers(wrapper, state: dict) -> Iterator[tuple[Any, dict]]:
    """Each optimizer wrapper with its state."""
    if not isinstance(wrapper, OptimWrapperDict):
        yield wrapper, state
        return
    for name, part in wrapper.items():
        yield part, state.get(name, {})


def _check_optimizer(wrapper, state: dict) -> None:
    """Compare groups, shapes and types of the optimizer's state."""
    for part, saved in _wrappers(wrapper, state):
        groups = part.optimizer.param_groups
        saved_groups = saved.get('param_groups', [])
        sizes = [len(group['params']) for group in groups]
        saved_sizes = [len(group.get('params', ())) for group in saved_groups]
        if sizes != saved_sizes:
            raise ValueError(
                'the optimizer state of the checkpoint does not fit: it has groups of '
                f'{saved_sizes} parameters, this config has {sizes}. Use the '
                'optim_wrapper that it was trained with.'
            )
        order = [p for group in groups for p in group['params']]
        numbers = [n for group in saved_groups for n in group['params']]
        moments = saved.get('state', {})
        for number, parameter in zip(numbers, order, strict=True):
            for name, value in (moments.get(number) or {}).items():
                if isinstance(value, Tensor):
                    _check_moment(name, number, value, parameter)


def _check_moment(name: str, number: int, value: Tensor, parameter: Tensor) -> None:
    """Refuse a tensor of the optimizer's state that its parameter cannot have."""
    fits = value.shape == parameter.shape or value.numel() == 1
    if not fits or not value.is_floating_point():
        raise ValueError(
            f'the optimizer state of the checkpoint does not fit: {name} of parameter '
            f'{number} is {value.dtype} of shape {tuple(value.shape)}, the parameter '
            f'has shape {tuple(parameter.shape)}. Nothing was loaded.'
        )
    if not torch.isfinite(value).all():
        raise ValueError(
            f'the optimizer state of the checkpoint is not finite ({name} of parameter '
            f'{number}): the training diverged. Take an earlier checkpoint.'
        )


def _changed_course(runner, record: dict) -> list[str]:
    """What may change at a resume, in words."""
    accumulated = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
    now = dict(
        batch_size=batch_size(runner),
        processes=runner.world_size,
        accumulation=accumulated,
        max_epochs=runner.max_epochs,
    )
    if isinstance(runner.train_loop, IterBasedTrainLoop):
        del now['max_epochs']
        now['max_iters'] = runner.max_iters
    pairs = [Difference(name, record.get(name), value) for name, value in now.items()]
    return [str(pair) for pair in pairs if record and pair.before != pair.now]


def _compare_seed(runner, before: int | None) -> list[Difference]:
    """The seed, where the config has one; otherwise the checkpoint's is taken."""
    now = runner.seed
    if before is None:
        return []
    if runner._randomness_cfg.get('seed') is None:
        sampler = runner.train_dataloader.sampler
        if hasattr(sampler, 'seed'):  # it was built with another random seed
            sampler.seed = before
        return []
    return [] if before == now else [Difference('randomness.seed', before, now)]


def _check_host_schedulers(runner, lines: list[str]) -> None:
    """Refuse changes under schedules that go on in the old iterations."""
    hosts = [s for s in all_schedulers(runner) if not isinstance(s, Schedule)]
    if hosts and lines:
        raise ValueError(
            f'{type(hosts[0]).__name__} in param_scheduler goes on as it was when the '
            f'checkpoint was written, but {"; ".join(lines)}. Use LinearSchedule, '
            'CosineSchedule, PolySchedule or StepSchedule, which follow the progress, '
            'or change nothing.'
        )


def _set_place(runner, meta: dict, record: dict, files) -> tuple[int, int]:
    """Set the loop's place; ``meta`` gets epoch and iteration of this run."""
    loop = runner.train_loop
    if isinstance(loop, IterBasedTrainLoop):
        return meta['epoch'], 0
    epoch, seen = record.get('epoch', meta['epoch']), record.get('seen', 0)
    if not record and (meta['iter'] % epoch if epoch else meta['iter']):
        raise ValueError(
            'the checkpoint was written within an epoch and has no record of the '
            'images that were seen: resume from one of the end of an epoch'
        )
    if files and record['files']['number'] != files['number']:  # as was insisted on
        seen = round(seen / record['files']['number'] * files['number'])
    if epoch > runner.max_epochs or (epoch == runner.max_epochs and seen):
        raise ValueError(
            f'the checkpoint has {epoch} epochs, and train_cfg.max_epochs is '
            f'{runner.max_epochs}: nothing is left to train. Raise max_epochs.'
        )
    if isinstance(loop, ResumableTrainLoop):
        loop.start_at(epoch, seen)
        meta['epoch'], meta['iter'] = loop.epoch, loop.iter
    elif seen:
        raise ValueError(
            'the checkpoint was written within an epoch, where '
            f'{type(loop).__name__} cannot go on: use train_cfg=dict(type='
            "'mmpretrain.ResumableTrainLoop', ...), or resume from one of the end of "
            'an epoch'
        )
    else:
        meta['iter'] = epoch * len(loop.dataloader)
    return epoch, seen


def _keep_settings(runner, state: dict) -> None:
    """Let rates and decays of the config replace those in the optimizer's state."""
    hosts = [s for s in all_schedulers(runner) if not isinstance(s, Schedule)]
    # the host's recursions go on from the value in the checkpoint
    left = {f'{prefix}{s.param_name}' for s in hosts for prefix in ('', 'initial_')}
    for part, saved in _wrappers(runner.optim_wrapper, state):
        own = part.optimizer.param_groups
        for group, saved_group in zip(own, saved['param_groups'], strict=True):
            for name, value in group.items():
                if name != 'params' and name not in left:
                    saved_group[name] = value
        if (base := getattr(part, 'base_param_settings', None)) is not None:
            before = saved.get('base_param_settings') or {}
            kept = {name: before[name] for name in left if name in before}
            saved['base_param_settings'] = {**base, **kept}
