"""Reading device values without making the host wait for them."""

import torch
from mmengine.hooks import RuntimeInfoHook
from torch import Tensor

from ..registry import HOOKS


class DeferredRead:
    """A tensor on its way to the host.

    On an accelerator the copy is queued and the host goes on; it is read a step later,
    when the device has the next step to work on.

    Args:
        values: The tensor; read at once where it is on the host already.
    """

    def __init__(self, values: Tensor) -> None:
        self._host, self._event = values, None
        if values.is_cuda:
            self._host = torch.empty_like(values, device='cpu', pin_memory=True)
            self._host.copy_(values, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()

    @property
    def on_its_way(self) -> bool:
        """Whether reading now could make the host wait."""
        return self._event is not None

    def wait(self) -> Tensor:
        """Wait until the values are there.

        Returns:
            The tensor on the host.
        """
        if self._event is not None:
            self._event.synchronize()
        return self._host


@HOOKS.register_module()
class DeferredRuntimeInfoHook(RuntimeInfoHook):
    """mmengine's RuntimeInfoHook, which reads losses one iteration late on a GPU.

    The host's own reads each value at the end of its iteration, one by one, and so
    lets the device run dry at every step. Here the values of an iteration are copied
    together and enter the log at the next one, or before a checkpoint is written. On
    the CPU nothing changes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pending: list[tuple[list[str], DeferredRead]] = []

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        """Log the iteration before, and send this one's values on their way.

        Args:
            runner: The runner.
            batch_idx: Unused.
            data_batch: Unused.
            outputs: Scalars of this iteration.
        """
        self._log(runner)
        outputs = outputs or {}
        places: dict[torch.device, list[str]] = {}  # what plans log is on the host
        for name, value in outputs.items():
            if isinstance(value, Tensor):
                places.setdefault(value.device, []).append(name)
            else:
                runner.message_hub.update_scalar(f'train/{name}', value)
        for names in places.values():
            values = torch.stack([outputs[name].detach().float() for name in names])
            self._pending.append((names, self._read(values)))
        if not any(read.on_its_way for _, read in self._pending):
            self._log(runner)

    def after_train_epoch(self, runner) -> None:
        """Log the last iteration.

        Args:
            runner: The runner.
        """
        self._log(runner)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Log the last iteration, so that the checkpoint's history is whole.

        Args:
            runner: The runner.
            checkpoint: Its message hub is brought up to date.
        """
        if self._pending:
            self._log(runner)
            checkpoint['message_hub'] = runner.message_hub.state_dict()

    def _read(self, values: Tensor) -> DeferredRead:
        return DeferredRead(values)

    def _log(self, runner) -> None:
        """Put what is on its way into the message hub."""
        pending, self._pending = self._pending, []
        for names, read in pending:
            for name, value in zip(names, read.wait().tolist(), strict=True):
                runner.message_hub.update_scalar(f'train/{name}', value)
