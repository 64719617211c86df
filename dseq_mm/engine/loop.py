"""The training loop: epochs, counted in images, that can be begun in their middle."""

import math
from collections.abc import Iterator
from copy import copy

from mmengine.dataset import DefaultSampler
from mmengine.runner import EpochBasedTrainLoop
from torch.utils.data import BatchSampler, Sampler

from ..registry import LOOPS
from .optim_wrapper import gradients_pending


class RestOfEpoch(Sampler):
    """The images of an epoch that are still to come, in the order of a sampler.

    The host's sampler deals one order out to all processes, so the images that were
    seen are its first ones, whatever batch size and number of processes saw them.

    Args:
        sampler: The host's sampler.
    """

    def __init__(self, sampler: DefaultSampler) -> None:
        self.sampler, self.dataset = sampler, sampler.dataset
        #: Images of the epoch that all processes together have seen.
        self.seen = 0

    def __iter__(self) -> Iterator[int]:
        """Give the indices of this process, the seen ones left out."""
        if self.seen == 0:
            return iter(self.sampler)
        whole = copy(self.sampler)
        whole.rank, whole.world_size = 0, 1
        images = list(whole)[: len(self.dataset)]
        order = images[self.seen :]
        if self.sampler.round_up:  # each process gets as many, as in a whole epoch
            missing = -len(order) % self.sampler.world_size
            order += (images * self.sampler.world_size)[:missing]
        return iter(order[self.sampler.rank :: self.sampler.world_size])

    def __len__(self) -> int:
        """Return the images of this process in a whole epoch."""
        return len(self.sampler)

    def set_epoch(self, epoch: int) -> None:
        """Pass the epoch on to the sampler.

        Args:
            epoch: From 0.
        """
        self.sampler.set_epoch(epoch)

    @property
    def left(self) -> int:
        """Images of this process that are still to come."""
        if self.seen == 0:
            return len(self.sampler)
        rest = len(self.dataset) - self.seen
        return max(math.ceil(rest / self.sampler.world_size), 0)


@LOOPS.register_module()
class ResumableTrainLoop(EpochBasedTrainLoop):
    """The host's loop over epochs, which knows how many images of them were seen.

    Progress is ``(epoch + seen / N) / max_epochs`` with ``N`` images in the data set,
    at the last step of the optimizer. So it does not depend on batch size, number of
    processes and accumulation; the images that ``drop_last`` leaves out count as seen
    when the epoch ends.

    Args:
        runner: The runner.
        dataloader: Training data loader, or its config.
        max_epochs: Length of the training.
        **kwargs: As for the host's loop.
    """

    def __init__(self, runner, dataloader, max_epochs: int, **kwargs) -> None:
        super().__init__(runner, dataloader, max_epochs, **kwargs)
        self._seen = 0
        self._stepped = 0, 0  # epoch and images at the last step of the optimizer
        self._rest: RestOfEpoch | None = None
        batches = self.dataloader.batch_sampler
        if isinstance(getattr(batches, 'sampler', None), DefaultSampler):
            self._rest = batches.sampler = RestOfEpoch(batches.sampler)

    @property
    def seen(self) -> int:
        """Images of the current epoch that all processes have trained on."""
        return self._seen

    @property
    def batch(self) -> int:
        """Images of one iteration, of all processes."""
        size = getattr(self.dataloader.batch_sampler, 'batch_size', None)
        return (size or self.dataloader.batch_size or 1) * self.runner.world_size

    @property
    def progress(self) -> float:
        """Share of the planned images that were trained on."""
        epoch, seen = self._stepped
        share = seen / max(len(self.dataloader.dataset), 1)
        return (epoch + min(share, 1.0)) / self._max_epochs

    def start_at(self, epoch: int, seen: int) -> None:
        """Go on from a place in the training.

        Args:
            epoch: Epochs that are done.
            seen: Images of the next one that are done.

        Raises:
            ValueError: If the epoch cannot be begun in its middle.
        """
        if seen and self._rest is None:
            name = type(self.dataloader.sampler).__name__
            raise ValueError(
                f'the checkpoint was written within an epoch, and {name} cannot begin '
                "there: use sampler=dict(type='DefaultSampler', shuffle=True), or "
                'resume from a checkpoint of the end of an epoch'
            )
        batches = type(self.dataloader.batch_sampler)
        if seen and batches is not BatchSampler:
            self.runner.logger.warning(
                f'{batches.__name__} groups images: within this epoch, a few may come '
                'twice or not at all.'
            )
        self._epoch, self._seen = self._stepped = epoch, seen
        self._iter = epoch * len(self.dataloader) + self._first_batch()

    @property
    def left_out(self) -> int:
        """Images that do not fill a batch in this epoch, and would in a whole one."""
        if self._rest is None or self._seen == 0:
            return 0
        first = self._first_batch()
        skipped = len(self.dataloader.dataset) - len(self.dataloader) * self.batch
        rest = len(self.dataloader.dataset) - self._seen
        left_out = rest - (len(self.dataloader) - first) * self.batch
        return left_out if left_out > max(skipped, 0) else 0

    def run(self):
        """Run the training; see the host.

        Returns:
            The model.

        Raises:
            ValueError: If somebody else has put the loop where no batch begins.
        """
        if self._iter != self._epoch * len(self.dataloader) + self._first_batch():
            raise ValueError(
                f'epoch {self._epoch} and iteration {self._iter} of the checkpoint do '
                'not fit batch size and data of this run, and nothing has compared '
                "them: add default_hooks=dict(strict=dict(type='mmpretrain."
                "StrictCheckpointHook'))"
            )
        self._stepped = self._epoch, self._seen
        return super().run()

    def run_epoch(self) -> None:
        """Run what is left of the epoch; see the host."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        first = self._first_batch()  # tells the sampler where to begin
        for idx, data_batch in enumerate(self.dataloader, first):
            self.run_iter(idx, data_batch)
        self.runner.call_hook('after_train_epoch')
        at_step = self._stepped == (self._epoch, self._seen)
        self._epoch += 1
        self._seen = 0
        if at_step:
            self._stepped = self._epoch, 0

    def run_iter(self, idx: int, data_batch) -> None:
        """Run an iteration and count its images; see the host.

        Args:
            idx: Number of the batch in its epoch.
            data_batch: The batch.
        """
        super().run_iter(idx, data_batch)
        self._seen = min(self._seen + self.batch, len(self.dataloader.dataset))
        if not gradients_pending(self.runner):
            self._stepped = self._epoch, self._seen

    def _first_batch(self) -> int:
        """Number of the batch that the epoch goes on with; the last one is len - 1."""
        if self._rest is None:
            return 0
        self._rest.seen = self._seen
        batches = self.dataloader.batch_sampler
        whole = math.floor if getattr(batches, 'drop_last', False) else math.ceil
        left = whole(self._rest.left / batches.batch_size)
        return len(self.dataloader) - min(left, len(self.dataloader))
