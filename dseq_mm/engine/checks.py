"""What of a checkpoint has to fit a run, part by part. Nothing is loaded here."""

from collections.abc import Iterator
from typing import Any

import torch
from mmengine.dist import all_gather_object
from mmengine.hooks import EMAHook
from mmengine.optim import OptimWrapperDict
from torch import Tensor

from ..transfer.contents import check_finite
from ..transfer.initialize import compare_keys, state_dict_of
from .clock import all_schedulers, unwrap
from .schedules import Schedule

#: Entries of PyTorch's optimizers that have the shape of their parameter.
_MOMENTS = frozenset(
    'exp_avg exp_avg_sq max_exp_avg_sq momentum_buffer square_avg grad_avg sum '
    'acc_delta exp_inf'.split()
)


def check_model(runner, checkpoint: dict) -> None:
    """Compare keys, shapes and types of the weights.

    Args:
        runner: The runner.
        checkpoint: What was read.

    Raises:
        ValueError: If they are not those of the model, with the report.
    """
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
    check_finite({name: state[name] for name in wanted}, 'the checkpoint')
    for name, value in wanted.items():
        if state[name].dtype != value.dtype:
            raise ValueError(
                f'the checkpoint does not fit the model of this config: {name} is '
                f'{state[name].dtype} in the file, {value.dtype} in the model; nothing '
                'was loaded'
            )


def check_same_file(checkpoint: dict) -> None:
    """Compare what the processes have read.

    Args:
        checkpoint: What this one has.

    Raises:
        ValueError: If they have found different files.
    """
    meta = checkpoint['meta']
    record = meta.get('run') or {}
    place = tuple(record.get(key) for key in ('id', 'epoch', 'seen'))
    found = all_gather_object((*place, meta['epoch'], meta['iter'], meta.get('time')))
    if len(set(found)) > 1:
        raise ValueError(
            f'the processes read different checkpoints ({found}): name one by '
            '--resume PATH, on a file system that all of them see alike'
        )


def check_parts(checkpoint: dict) -> None:
    """Refuse what holds weights alone.

    Args:
        checkpoint: What was read.

    Raises:
        ValueError: If a training cannot go on from it.
    """
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


def check_averages(runner, checkpoint: dict) -> list[str]:
    """Compare the host's averaging hook, which swaps weights and averages in files.

    Args:
        runner: The runner.
        checkpoint: What was read.

    Returns:
        A line if averaging begins with this resume.

    Raises:
        ValueError: If the run averaged and does no more: it would go on from the
            averages as if they were the weights.
    """
    averaged = 'ema_state_dict' in checkpoint
    averages = any(isinstance(hook, EMAHook) for hook in runner.hooks)
    if averaged and not averages:
        raise ValueError(
            'the checkpoint is of a run with EMAHook: its weights are averages, and '
            'this config lacks that hook. Add it to custom_hooks, as it was.'
        )
    return ['EMAHook begins here'] if averages and not averaged else []


def wrappers_of(wrapper, state: dict) -> Iterator[tuple[Any, dict]]:
    """Pair optimizer wrappers with their states.

    Args:
        wrapper: The runner's wrapper, of one optimizer or several.
        state: Their state in a checkpoint.

    Yields:
        Each wrapper of one optimizer, and its state.
    """
    if not isinstance(wrapper, OptimWrapperDict):
        yield wrapper, state
        return
    for name, part in wrapper.items():
        yield part, state.get(name, {})


def check_optimizer(wrapper, state: dict) -> None:
    """Compare groups, entries, shapes and types of the optimizer's state.

    Args:
        wrapper: The runner's optimizer wrapper.
        state: Its state in the checkpoint.

    Raises:
        ValueError: If the optimizer could not use it.
    """
    for part, saved in wrappers_of(wrapper, state):
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
        moments = saved.get('state', {})
        for group, saved_group in zip(groups, saved_groups, strict=True):
            for parameter, number in zip(
                group['params'], saved_group['params'], strict=True
            ):
                found = moments.get(number) or {}
                if found and group.get('amsgrad') and 'max_exp_avg_sq' not in found:
                    raise ValueError(
                        'the checkpoint was trained without amsgrad and has no state '
                        'for it: leave optim_wrapper.optimizer.amsgrad out'
                    )
                for name, value in found.items():
                    if isinstance(value, Tensor):
                        _check_moment(name, number, value, parameter)


def _check_moment(name: str, number: int, value: Tensor, parameter: Tensor) -> None:
    """Refuse a tensor of the optimizer's state that its parameter cannot have."""
    if name not in _MOMENTS and not value.is_floating_point():
        return  # of an optimizer that keeps its state in another form
    fits = name not in _MOMENTS or value.shape == parameter.shape
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


def check_host_schedulers(runner, lines: list[str], max_iters: int | None) -> None:
    """Refuse changes under schedules that go on in the old iterations.

    Args:
        runner: The runner.
        lines: What has changed.
        max_iters: Iterations that the run was planned for.

    Raises:
        ValueError: If there are changes, and such a schedule.
    """
    hosts = [s for s in all_schedulers(runner) if not isinstance(s, Schedule)]
    if max_iters not in (None, runner.max_iters):
        lines = [
            *lines,
            f'the training has {runner.max_iters} iterations instead of {max_iters}',
        ]
    if hosts and lines:
        raise ValueError(
            f'{type(hosts[0]).__name__} in param_scheduler goes on as it was when the '
            f'checkpoint was written, but {"; ".join(lines)}. Use LinearSchedule, '
            'CosineSchedule, PolySchedule or StepSchedule, which follow the progress, '
            'or change nothing.'
        )


def keep_settings(runner, state: dict) -> None:
    """Let rates and decays of the config replace those in the optimizer's state.

    Args:
        runner: The runner.
        state: The optimizer's state in the checkpoint, changed in place.
    """
    hosts = [s for s in all_schedulers(runner) if not isinstance(s, Schedule)]
    # the host's recursions go on from the value in the checkpoint
    left = {f'{prefix}{s.param_name}' for s in hosts for prefix in ('', 'initial_')}
    for part, saved in wrappers_of(runner.optim_wrapper, state):
        own = part.optimizer.param_groups
        for group, saved_group in zip(own, saved['param_groups'], strict=True):
            for name, value in group.items():
                if name != 'params' and name not in left:
                    saved_group[name] = value
        if (base := getattr(part, 'base_param_settings', None)) is not None:
            before = saved.get('base_param_settings') or {}
            kept = {name: before[name] for name in left if name in before}
            saved['base_param_settings'] = {**base, **kept}
