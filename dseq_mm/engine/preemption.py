"""SIGTERM and SIGUSR1: save where the training stands, and end with a status for it.

Slurm and other schedulers announce with a signal that they will take the machine away.
"""

import atexit
import multiprocessing
import signal
from functools import partial
from typing import Any

from mmengine.dist import barrier, is_distributed
from mmengine.hooks import Hook

from ..registry import HOOKS
from ..utils.host import default_store
from .optim_wrapper import gradients_pending

#: Exit status of an interrupted training that was saved: EX_TEMPFAIL, "try again".
INTERRUPTED = 75
SIGNALS = ('SIGTERM', 'SIGUSR1')


class TrainingInterrupted(SystemExit):
    """The training was saved and ends, since it was asked to by a signal.

    Args:
        signal_name: Which one.
    """

    def __init__(self, signal_name: str) -> None:
        super().__init__(INTERRUPTED)
        self.signal_name = signal_name


@HOOKS.register_module()
class PreemptionHook(Hook):
    """Save and end after SIGTERM or SIGUSR1, at the end of an optimizer step.

    All processes end at the same iteration, whichever of them got the signal: the first
    one tells the others by the store of the process group, and they look there at the
    end of each step. No device is asked.

    It names the second step after the signal as the last. A host may be ahead of its
    device, and so of the others, but before it ends that step it has read the flag of
    the one before (:class:`GuardedOptimWrapper`), for which all had to see the signal.
    """

    priority = 'LOWEST'  # after all others have seen the iteration

    def __init__(self) -> None:
        self._signal: str | None = None
        self._steps = 0  # of the optimizer, in this process's life
        self._last: int | None = None
        self._key = ''
        self._before: dict[str, Any] = {}

    def before_train(self, runner) -> None:
        """Listen to the signals; let data workers leave them to us.

        Args:
            runner: The runner.
        """
        try:
            for name in SIGNALS:
                self._before[name] = signal.signal(
                    getattr(signal, name), partial(self._note, name)
                )
        except (ValueError, AttributeError):  # not the main thread, not on this system
            runner.logger.warning(
                f'{" and ".join(SIGNALS)} cannot be caught here: a training that they '
                'end is not saved'
            )
        self._key = f'dseq_mm/last_iteration/{runner.timestamp}'
        atexit.unregister(_end_workers)
        atexit.register(_end_workers)
        shield_workers(runner.train_dataloader)
        if runner.val_loop is not None:
            shield_workers(runner.val_loop.dataloader)

    def after_train(self, runner) -> None:
        """Give the signals back.

        Args:
            runner: The runner.
        """
        while self._before:
            name, handler = self._before.popitem()
            # None is one that was not set by Python, and cannot be
            signal.signal(getattr(signal, name), handler or signal.SIG_DFL)

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        """Save and end, if it is time.

        Args:
            runner: The runner.
            batch_idx: Unused.
            data_batch: Unused.
            outputs: Unused.

        Raises:
            TrainingInterrupted: After the checkpoint was written.
        """
        stepped = not gradients_pending(runner)
        self._steps += stepped
        if not self._is_last(stepped):
            return
        for hook in runner.hooks:
            if hasattr(hook, 'save_now'):
                hook.save_now(runner)
                break
        else:
            raise RuntimeError(
                f'{self._signal} ends the training, and it could not be saved: set '
                "default_hooks.checkpoint.type='dseq_mm.DurableCheckpointHook'"
            )
        if is_distributed():
            barrier()  # until the main process has written
        runner.logger.warning(
            f'{self._signal} ended the training at iteration {runner.iter + 1}; it was '
            'saved and goes on with --resume.'
        )
        self.after_train(runner)
        raise TrainingInterrupted(str(self._signal))

    def _note(self, name: str, number: int, frame) -> None:
        self._signal = name

    def _is_last(self, stepped: bool) -> bool:
        """Whether the training ends after this iteration, in all processes alike."""
        if not is_distributed():
            return stepped and self._signal is not None
        store = default_store()
        if self._signal is not None and self._last is None:
            said = f'{self._steps + 2} {self._signal}'
            self._read(store.compare_set(self._key, '', said))
        if stepped and self._last is None and store.check([self._key]):
            self._read(store.get(self._key))
        return stepped and self._last is not None and self._steps >= self._last

    def _read(self, said: bytes) -> None:
        """What the first process that got a signal has said."""
        last, self._signal = bytes(said).decode().split()
        self._last = int(last)


def shield_workers(loader) -> None:
    """Keep a signal to the whole job from ending the workers of a data loader.

    The main process would fail at once, before anything is saved.

    Args:
        loader: A data loader whose workers have not been started.
    """
    loader.worker_init_fn = partial(_init_worker, loader.worker_init_fn)


def _end_workers() -> None:
    """End data workers with this process, since they ignore the signal that would."""
    if hasattr(signal, 'SIGCHLD'):  # PyTorch would take their end for a failure
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


def _init_worker(init, worker_id: int) -> None:
    """A signal to the whole job must not end the workers before the batch is done."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if hasattr(signal, 'SIGUSR1'):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    if init is not None:
        init(worker_id)
