"""Optimizer wrapper: explicit autocast dtype, and a guard against bad updates."""

from collections.abc import Sequence
from contextlib import contextmanager

import torch
from mmengine.dist import all_reduce
from mmengine.model import BaseAveragedModel
from mmengine.optim import (
    DefaultOptimWrapperConstructor,
    OptimWrapper,
    OptimWrapperDict,
)
from torch import Tensor, nn

from ..registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS
from ..utils.arguments import check_arguments
from ..utils.host import local, whole
from .deferred import DeferredRead
from .sharding import is_sharded, shard_state

_BAD_GRADIENT = (
    'the loss or a gradient was not finite at iteration {steps}; the weights were left '
    'as they were'
)
_BAD_WEIGHT = 'the update of iteration {steps} made a weight infinite or NaN'
_DTYPES = {None: None, 'float32': None, 'bfloat16': torch.bfloat16}


class NonFiniteLossError(RuntimeError):
    """The loss, a gradient or a weight is NaN or infinite; nothing of it is saved."""


def gradients_pending(runner) -> bool:
    """Tell whether gradients are accumulated that no checkpoint would hold.

    Args:
        runner: The runner, after an iteration.

    Returns:
        True between two steps of the optimizer.
    """
    wrapper = runner.optim_wrapper
    if isinstance(wrapper, OptimWrapperDict) or not hasattr(wrapper, 'should_update'):
        return False  # these count no accumulation
    return not wrapper.should_update()


@OPTIM_WRAPPERS.register_module()
class GuardedOptimWrapper(OptimWrapper):
    """Wrapper that never applies a non-finite update.

    Before each optimizer step the loss and the gradient norm are tested on the device.
    With a fused optimizer on an accelerator the flag makes the optimizer skip the
    update and is copied to the host without waiting; it is read before the next update,
    when a later synchronisation has already brought it over. Elsewhere it is read at
    once. Either way :class:`NonFiniteLossError` names step and files, and the weights
    are those of the last good step. The update itself is tested too: finite gradients
    can still push a weight out of range; such weights are never saved.

    Args:
        dtype: Autocast dtype: ``'bfloat16'``, or None or ``'float32'`` for none.
            Works on the CPU too.
        **kwargs: See :class:`mmengine.optim.OptimWrapper`.

    Raises:
        ValueError: If ``clip_grad`` has what nothing reads, or ``dtype`` is another;
            float16 needs mmengine's AmpOptimWrapper.
    """

    def __init__(self, dtype: str | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        if self.clip_grad_kwargs:
            check_arguments(self.clip_grad_kwargs, self.clip_func, 'clip_grad')
        if dtype not in _DTYPES:
            raise ValueError(
                f"dtype must be None, 'float32' or 'bfloat16', got {dtype!r}. float16 "
                "needs loss scaling: use mmengine's AmpOptimWrapper for it."
            )
        self.optimizer.register_load_state_dict_pre_hook(shard_state)
        self.dtype = _DTYPES[dtype]
        self._bad_loss: Tensor | None = None
        self._batch: tuple[int, Sequence[str]] = (0, ())
        self._batches: list[tuple[int, Sequence[str]]] = []
        self._pending: list[tuple[str, DeferredRead, list]] = []
        self._norm: DeferredRead | None = None

    @contextmanager
    def optim_context(self, model: nn.Module):
        """Make the context of the forward pass: autocast with this dtype.

        Args:
            model: The model, for gradient accumulation without synchronisation.
        """
        device = self.optimizer.param_groups[0]['params'][0].device.type
        with super().optim_context(model):
            with torch.autocast(device, self.dtype, enabled=self.dtype is not None):
                yield

    def describe_batch(self, iteration: int, files: Sequence[str]) -> None:
        """Say what the coming batch is, for the error message.

        Args:
            iteration: Iteration, from 0.
            files: Image files of this process.
        """
        self._batch = (iteration, files)

    def update_params(self, loss: Tensor, step_kwargs=None, zero_kwargs=None) -> None:
        """Accumulate the gradient of a loss and step when it is time.

        Args:
            loss: A scalar.
            step_kwargs: Passed to the optimizer's step.
            zero_kwargs: Passed to its zero_grad.

        Raises:
            NonFiniteLossError: If this or the previous update was not finite.
        """
        self.raise_if_nonfinite()
        bad = ~loss.detach().isfinite()
        self._bad_loss = bad if self._bad_loss is None else self._bad_loss | bad
        self._batches.append(self._batch)
        super().update_params(loss, step_kwargs, zero_kwargs)

    def step(self, **kwargs) -> None:
        """Step the optimizer unless the loss or a gradient is not finite.

        Args:
            **kwargs: Passed to the optimizer's step.
        """
        gradients = [
            parameter.grad
            for group in self.optimizer.param_groups
            for parameter in group['params']
            if parameter.grad is not None
        ]
        norm = whole(torch.nn.utils.get_total_norm(gradients))
        if not self.clip_grad_kwargs:  # else it is logged where it is clipped
            self._read_norm(norm)
        bad = ~norm.isfinite()
        flag = (bad if self._bad_loss is None else self._bad_loss | bad).float()
        all_reduce(flag, op='max')
        batches, self._bad_loss, self._batches = self._batches, None, []
        fused = all(group.get('fused') for group in self.optimizer.param_groups)
        self._pending.append((_BAD_GRADIENT, DeferredRead(flag), batches))
        if flag.is_cuda and fused:
            self.optimizer.found_inf = flag  # the optimizer then skips the update
        else:
            self.raise_if_nonfinite()
        super().step(**kwargs)
        read = DeferredRead(self._weights_are_bad())
        self._pending.append((_BAD_WEIGHT, read, batches))
        if not read.on_its_way:
            self.raise_if_nonfinite()

    def _weights_are_bad(self) -> Tensor:
        """Whether a weight is not finite: 1.0 or 0.0, on the device."""
        weights = [p for group in self.optimizer.param_groups for p in group['params']]
        parts = [part for part in map(local, weights) if part.numel()]
        largest = torch.nn.utils.get_total_norm(parts, torch.inf)
        bad = (~largest.detach().isfinite()).float()
        if is_sharded(weights):  # replicas need not ask the other processes
            all_reduce(bad, op='max')
        return bad

    def initialize_count_status(
        self, model: nn.Module, init_counts: int, max_counts: int
    ) -> None:
        """Count from where the training goes on: that is always a step's end.

        Args:
            model: The model.
            init_counts: Iterations that are done.
            max_counts: Iterations of the whole training.
        """
        super().initialize_count_status(model, 0, max_counts - init_counts)

    def _clip_grad(self) -> None:
        """Clip as the host does, which waits for the norm; here it is logged later."""
        parameters = [
            parameter
            for group in self.optimizer.param_groups
            for parameter in group['params']
            if parameter.grad is not None
        ]
        norm = self.clip_func(parameters, **self.clip_grad_kwargs)
        if norm is not None:  # clipping by value has none
            self._read_norm(whole(norm))

    def _read_norm(self, norm: Tensor) -> None:
        """Log the norm of an update as soon as it is there."""
        self._norm = DeferredRead(norm)
        if not self._norm.on_its_way:
            self._log_norm()

    def _log_norm(self) -> None:
        """Log the norm of the last update, before any clipping."""
        if self._norm is not None:
            norm, self._norm = self._norm.wait().item(), None
            name = getattr(self, 'grad_name', 'grad_norm')
            self.message_hub.update_scalar(f'train/{name}', norm)

    def raise_if_nonfinite(self) -> None:
        """Read the flag of the last update, and log the norm of its gradients.

        Raises:
            NonFiniteLossError: If that update was not finite (and was skipped).
        """
        self._log_norm()
        pending, self._pending = self._pending, []
        for what, flag, batches in pending:
            if flag.wait().item() == 0:
                continue
            steps = ', '.join(str(iteration) for iteration, _ in batches)
            files = [name for _, names in batches for name in names]
            raise NonFiniteLossError(
                f'{what.format(steps=steps)} and no checkpoint was written. Images of '
                f'this process: {", ".join(files) or "unknown"}. Look at them, lower '
                'the learning rate, or train in float32; then continue from the last '
                'checkpoint with --resume.'
            )


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class JEPAOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """The host's constructor with few groups and without averaged copies.

    The host makes one group for each parameter, which defeats fused optimizers, and
    warns about each frozen parameter of the target encoder.
    """

    def add_params(
        self, params: list, module: nn.Module, prefix: str = '', **kwargs
    ) -> None:
        """Add the parameters of a module and its children.

        Args:
            params: Parameter groups, extended in place; groups of equal settings are
                merged.
            module: The module.
            prefix: Its name.
            **kwargs: See mmengine.
        """
        if isinstance(module, BaseAveragedModel):
            return
        super().add_params(params, module, prefix, **kwargs)
        if prefix == '':
            merged: dict[str, dict] = {}
            for group in params:
                settings = {k: v for k, v in group.items() if k != 'params'}
                target = merged.setdefault(repr(settings), {'params': [], **settings})
                target['params'] += group['params']
            params[:] = merged.values()
