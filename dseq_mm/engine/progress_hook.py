"""A progress bar on a terminal, and throughput numbers for the log everywhere."""

import atexit
import logging
import sys

from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from ..registry import HOOKS

WINDOW = 10  # iterations that the numbers are averaged over, as in the log lines


@HOOKS.register_module()
class ProgressHook(Hook):
    """Show how far and how fast the training is.

    Everywhere it adds two scalars to the log: ``images_per_s`` (all processes
    together) and ``data_wait``, the share of time that went by between iterations:
    waiting for data, and the hooks after ``IterTimerHook`` (checkpoints, log lines).
    Where standard error is a terminal, the main process also draws a bar with both,
    epoch, iteration, loss and the time that is left; log lines scroll above it.

    All numbers are those that mmengine's ``IterTimerHook`` and ``RuntimeInfoHook``
    already have on the host: nothing here waits for the device.

    Args:
        console: Where to draw; standard error by default.
    """

    priority = 55  # after IterTimerHook (50), before LoggerHook (60)

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._bar: Progress | None = None
        self._redirected: list[tuple[logging.StreamHandler, object]] = []

    def before_train(self, runner) -> None:
        """Start the bar, if there is a terminal to draw it on.

        Args:
            runner: The runner.
        """
        drawable = self.console.is_terminal and not self.console.is_dumb_terminal
        if not (drawable and is_main_process()):
            return
        self._bar = Progress(
            TextColumn('{task.description}'),
            BarColumn(bar_width=None),
            TextColumn('{task.fields[numbers]}'),
            console=self.console,
            auto_refresh=False,
            expand=True,
            redirect_stdout=sys.stdout.isatty(),
        )
        self._bar.add_task('', total=runner.max_iters, numbers='')
        self._bar.start()
        self._lift_log_lines(runner.logger)
        atexit.register(self.close_bar)

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        """Put the scalars where the log finds them, and redraw the bar.

        Args:
            runner: The runner.
            batch_idx: Index of the batch in its epoch.
            data_batch: What the data loader gave.
            outputs: Unused; the loss is read from the message hub.
        """
        hub = runner.message_hub
        window = min(WINDOW, batch_idx + 1)  # not across epochs: workers start anew
        seconds = max(hub.get_scalar('train/time').mean(window), 1e-9)
        waiting = hub.get_scalar('train/data_time').mean(window)
        images_per_s = count_images(data_batch) * get_world_size() / seconds
        hub.update_scalar('train/images_per_s', images_per_s)
        hub.update_scalar('train/data_wait', waiting / seconds)
        if self._bar is None:
            return
        numbers = [f'{images_per_s:.0f} images/s', f'data {waiting / seconds:.0%}']
        if 'train/loss' in hub.log_scalars:
            loss = hub.get_scalar('train/loss').mean(window)
            numbers.insert(0, f'loss {loss:.4f}')
        left = hub.get_info('eta')
        if left is not None:
            numbers.append(f'{format_seconds(max(left, 0))} left')
        self._bar.update(
            self._bar.task_ids[0],
            completed=runner.iter + 1,
            description=position(runner, batch_idx),
            numbers='  '.join(numbers),
        )
        self._bar.refresh()

    def after_train(self, runner) -> None:
        """Remove the bar.

        Args:
            runner: The runner.
        """
        self.close_bar(runner)

    def close_bar(self, runner=None) -> None:
        """Remove the bar, also after an error; ``tools/train.py`` calls it then.

        A process that ends without it, or a second call, does no harm.

        Args:
            runner: Unused.
        """
        if self._bar is None:
            return
        for handler, stream in self._redirected:
            handler.setStream(stream)
        self._redirected.clear()
        bar, self._bar = self._bar, None
        bar.stop()
        atexit.unregister(self.close_bar)

    def _lift_log_lines(self, logger) -> None:
        """Send log lines for the terminal through the console that draws the bar.

        Log handlers keep the stream that they were made with, so that rich's
        redirection of ``sys.stdout`` does not reach them.
        """
        proxies = {
            getattr(stream, 'rich_proxied_file', None): stream
            for stream in (sys.stdout, sys.stderr)
        }
        for handler in logger.handlers:
            stream = getattr(handler, 'stream', None)
            if stream is not None and stream in proxies:
                self._redirected.append((handler, handler.setStream(proxies[stream])))


def count_images(data_batch) -> int:
    """Count the images in a batch of one process.

    Args:
        data_batch: A batch of mmpretrain (``data_samples`` and ``inputs``), or a
            sequence or tensor of images.

    Returns:
        The number; several views of an image count once.
    """
    if isinstance(data_batch, dict):
        for name in ('data_samples', 'inputs'):
            if data_batch.get(name) is not None:
                return len(data_batch[name])
        return 0
    if isinstance(data_batch, tuple | list) and hasattr(data_batch[0], '__len__'):
        return len(data_batch[0])
    return len(data_batch)


def position(runner, batch_idx: int) -> str:
    """Tell epoch and iteration, as far as the loop has them.

    Args:
        runner: The runner.
        batch_idx: Index of the batch in its epoch.

    Returns:
        Such as ``'epoch 3/600 iter 12/625'``, or ``'iter 12/10000'``.
    """
    if runner.log_processor.by_epoch:
        per_epoch = len(runner.train_dataloader)
        return (
            f'epoch {runner.epoch + 1}/{runner.max_epochs} '
            f'iter {batch_idx + 1}/{per_epoch}'
        )
    return f'iter {runner.iter + 1}/{runner.max_iters}'


def format_seconds(seconds: float) -> str:
    """Write a duration in the two largest units that it needs.

    Args:
        seconds: The duration.

    Returns:
        Such as ``'2 d 03 h'``, ``'3 h 05 min'`` or ``'4 min 09 s'``.
    """
    whole = round(seconds)
    for size, name, small, small_name in (
        (86400, 'd', 3600, 'h'),
        (3600, 'h', 60, 'min'),
        (60, 'min', 1, 's'),
    ):
        if whole >= size:
            return f'{whole // size} {name} {whole % size // small:02d} {small_name}'
    return f'{whole} s'
