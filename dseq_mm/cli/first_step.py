"""The first step of a training or a test: what fails in it is told in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.dataset import DefaultSampler
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import ValLoop
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import BatchSampler

from ..engine.clock import unwrap
from ..engine.hooks import image_files
from ..engine.loop import RestOfEpoch
from ..engine.progress_hook import count_images
from ..evaluation.validation import SteadyValLoop, part_of, rehearse
from ..utils.command import begin_work, explain, is_told
from ..utils.host import set_val_loop


class FirstStepHook(Hook):
    """Try all that a run will do as early as it can be tried.

    Before a training, its validation is rehearsed, and one that fails later is made a
    warning. An error in the first iteration is the user's, most likely: the config does
    not fit the model or the data. It ends the run in one line that names the part. A
    last batch of a single image, which batch norm cannot train on, is refused after the
    first iteration, instead of at the end of the epoch.
    """

    priority = 'LOWEST'  # after all others have built and checked what is theirs

    def __init__(self) -> None:
        self._kind = ''  # of the step that is due
        self._step = 0
        self._batch = None
        self._watched: list = []
        self._flat: set[str] = set()

    def before_train(self, runner) -> None:
        """Rehearse the validation.

        Args:
            runner: The runner.
        """
        rehearse(runner)
        if type(runner.val_loop) is ValLoop:
            set_val_loop(runner, SteadyValLoop(runner.val_loop))

    def before_train_epoch(self, runner) -> None:
        """Note that all is built.

        Args:
            runner: Unused.
        """
        self._kind = 'training'

    def before_test_epoch(self, runner) -> None:
        """Note that all is built.

        Args:
            runner: Unused.
        """
        self._kind = 'test'

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Keep the batch, and watch the first one.

        Args:
            runner: The runner.
            batch_idx: Unused.
            data_batch: The batch.
        """
        self._batch = data_batch
        if self._step == 0 and _ends_with_one_image(runner):
            images = count_images(data_batch)
            for name, part in unwrap(runner.model).named_modules():
                if isinstance(part, _BatchNorm) and not _is_synchronized(part):
                    self._watch(name, part, images)

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Note that the first step is done.

        Args:
            runner: Unused.
            batch_idx: Unused.
            data_batch: Unused.
            outputs: Unused.

        Raises:
            ValueError: If the last batch of an epoch cannot be trained on.
        """
        self._step += 1
        self._batch = None
        begin_work()
        while self._watched:
            self._watched.pop().remove()
        if self._flat:
            raise ValueError(
                'the last batch of an epoch has one image, and batch norm '
                f'({sorted(self._flat)[0]}) needs more: set '
                'train_dataloader.drop_last=True, or another '
                'train_dataloader.batch_size.'
            )

    def after_test_iter(
        self, runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Note that the first step is done.

        Args:
            runner: Unused.
            batch_idx: Unused.
            data_batch: Unused.
            outputs: Unused.
        """
        self._step += 1
        begin_work()

    def _watch(self, name: str, part: nn.Module, images: int) -> None:
        """Note whether a batch norm gets one value per image and channel."""

        def look(part: nn.Module, inputs: tuple) -> None:
            """Note the name if this batch has one value per image and channel."""
            shape = inputs[0].shape
            if part.training and shape[0] == images and shape[2:].numel() == 1:
                self._flat.add(name)

        self._watched.append(part.register_forward_pre_hook(look))

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Make an error of the first step a sentence; name the images of later ones.

        Yields:
            Nothing.

        Raises:
            ValueError: Instead of an error of the first step that says nothing to the
                user.
        """
        try:
            yield
        except Exception as error:
            first = self._kind and not self._step
            if first and not is_told(error) and not isinstance(error, OSError):
                raise ValueError(
                    f'the first {self._kind} step failed: '
                    f'{explain(error, part_of(error))}'
                ) from error
            files = image_files(self._batch)
            if files and hasattr(error, 'add_note'):  # from Python 3.11 on
                error.add_note(f'Images of this step: {", ".join(files)}')
            raise


def _ends_with_one_image(runner) -> bool:
    """Whether the last batch of an epoch has one image, and others more."""
    loader = runner.train_dataloader
    batches = loader.batch_sampler
    if type(batches) is not BatchSampler or batches.drop_last:
        return False
    if not isinstance(batches.sampler, DefaultSampler | RestOfEpoch):
        return False
    one = batches.batch_size > 1 and len(batches.sampler) % batches.batch_size == 1
    return one and runner.max_iters >= len(loader)


def _is_synchronized(part: nn.Module) -> bool:
    return isinstance(part, nn.SyncBatchNorm) and get_world_size() > 1
