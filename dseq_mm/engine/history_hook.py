"""Histories of scalars that stay as long as the log needs them."""

from mmengine.hooks import Hook

from ..registry import HOOKS


@HOOKS.register_module()
class HistoryHook(Hook):
    """Keep the end of each scalar's history, so that a long run stays as fast.

    MMEngine appends each scalar of each iteration to an array that it copies as a
    whole, and puts all of it into each checkpoint: an iteration of a long run takes
    longer and longer to be logged. The log reads the last few alone, and what it has
    written stays in the run's files.

    Kept are at least as many as the log processor averages over: a window of an epoch
    counts, and a scalar that is averaged over the whole run keeps all.

    Args:
        keep: Iterations to keep where the log needs fewer.
    """

    priority = 'VERY_LOW'

    def __init__(self, keep: int = 1000) -> None:
        self.keep = keep
        self._whole: set[str] = set()
        self._length = keep

    def before_train(self, runner) -> None:
        """Ask the log processor what it reads.

        Args:
            runner: The runner.
        """
        processor = runner.log_processor
        windows = [processor.window_size]
        for config in processor.custom_cfg:
            window = config.get('window_size') or 0
            if window == 'global':
                self._whole.add(f'train/{config["data_src"]}')
            elif window == 'epoch':
                windows.append(len(runner.train_dataloader))
            else:
                windows.append(window)
        self._length = max(self.keep, *windows)

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        """Bound the histories that are there.

        Args:
            runner: The runner.
            batch_idx: Unused.
            data_batch: Unused.
            outputs: Unused.
        """
        for name, history in runner.message_hub.log_scalars.items():
            if name.startswith('train/') and name not in self._whole:
                history.max_length = self._length
