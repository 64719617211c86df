"""The validation of a training: tried before it, and never the end of it."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from copy import copy, deepcopy
from io import StringIO
from itertools import islice
from types import SimpleNamespace

from mmcv.transforms import BaseTransform
from mmengine.dist import all_gather_object, broadcast_object_list
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import IterBasedTrainLoop, ValLoop
from mmengine.runner.loops import _parse_losses
from mmengine.utils import is_method_overridden
from torch import nn

from ..engine.hooks import image_files
from ..utils.command import explain
from ..utils.host import set_runner
from .features import evaluation_mode
from .knn_hook import failure_line, free_memory, preserved_randomness

#: Images that are tried.
_SAMPLES = 2
#: How attributes of metrics begin that make them write files.
_WRITERS = ('out', 'format_only', 'dump', 'save')
#: Metrics that fail on all images alike, or not at all: their arguments are wrong.
_SURE = {('mmpretrain', 'Accuracy'), ('mmseg', 'IoUMetric')}


def part_of(error: Exception) -> str:
    """Find the innermost part of a run that an error comes from.

    Args:
        error: The error.

    Returns:
        Class of a network's part, a transform (with its file) or a metric; empty if it
        comes from elsewhere, or from a data worker.
    """
    found, step = '', error.__traceback__
    while step is not None:
        names = step.tb_frame.f_locals
        part, kind = names.get('self'), type(names.get('self'))
        known = isinstance(part, nn.Module | BaseTransform | BaseMetric)
        if known and not kind.__module__.startswith('torch.'):
            found, sample = kind.__name__, names.get('results')
            if isinstance(part, BaseTransform) and isinstance(sample, dict):
                path = sample.get('img_path')
                if 'Annotations' in found:
                    path = sample.get('seg_map_path') or path
                found += f', {path}' if path else ''
        step = step.tb_next
    return found


def rehearse(runner) -> None:
    """Let the first images of the validation through all that it will do with them.

    They are those of its first batch, in its own mode, so what fails here would fail
    there. Nothing is left behind: the metrics are copies, no hook is called, nothing is
    logged, and generators and modes are put back. What a metric says of two images
    means nothing, and some cannot say anything: only those are asked that no image can
    make fail, but a wrong argument can. Metrics that write files, and validation loops
    that are not the host's own, are not tried.

    Args:
        runner: The runner of a training, in ``before_train``, all processes alike.

    Raises:
        ValueError: In all processes, if it fails in one.
    """
    loop, train = runner.val_loop, runner.train_loop
    by_iter = isinstance(train, IterBasedTrainLoop)
    length = train.max_iters if by_iter else train.max_epochs
    if type(loop) is not ValLoop or getattr(train, 'val_begin', 1) > length:
        return
    reason = cause = None
    with preserved_randomness():
        try:
            _try(runner.model, loop)
        except Exception as error:
            reason, cause = explain(error, part_of(error)), error
            free_memory()
    failed = [text for text in all_gather_object(reason) if text]
    if failed:
        raise ValueError(
            f'the validation fails on its first images: {failed[0]}'
        ) from (cause)


def _try(model: nn.Module, loop: ValLoop) -> None:
    """Run the validation's first iteration, on a few images."""
    loader = loop.dataloader
    indices = next(iter(loader.batch_sampler or ()), ())
    if not indices:
        return
    batch = loader.collate_fn([loader.dataset[i] for i in list(indices)[:_SAMPLES]])
    trial = copy(loop)
    trial.val_loss = {}
    trial.evaluator = copy(loop.evaluator)
    trial.evaluator.metrics = list(_copies(loop.evaluator.metrics))
    set_runner(trial, SimpleNamespace(model=model, call_hook=lambda *_, **__: None))
    with evaluation_mode(model), _silence():
        trial.run_iter(0, batch)
        for metric in trial.evaluator.metrics:
            kind = type(metric)
            if (kind.__module__.partition('.')[0], kind.__name__) in _SURE:
                metric.compute_metrics(metric.results)


def _copies(metrics: Iterable[BaseMetric]) -> Iterator[BaseMetric]:
    """Copies of those metrics that can be tried."""
    for metric in metrics:
        if any(v for name, v in vars(metric).items() if name.startswith(_WRITERS)):
            continue
        api = getattr(metric, '_coco_api', None)  # large, and only read
        try:
            yield deepcopy(metric, {id(api): api})
        except Exception:  # one that holds what cannot be copied
            continue


@contextmanager
def _silence() -> Iterator[None]:
    """Let nothing be logged, printed or warned of."""
    logger = MMLogger.get_current_instance()
    before, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter('ignore')
            yield
    finally:
        logger.disabled = before


class SteadyValLoop(ValLoop):
    """The host's validation within a training, which goes on when it fails.

    Then a warning says why and where. No hook gets numbers that are not there, nor old
    ones: those that have prepared something for the validation put it back, others,
    ``save_best`` among them, do not hear of it. All processes agree on that before the
    metrics are gathered; the host's loop would leave them waiting for one that failed.

    Args:
        loop: The host's loop, built.
    """

    def __init__(self, loop: ValLoop) -> None:
        super().__init__(loop.runner, loop.dataloader, loop.evaluator, loop.fp16)
        for metric in self.evaluator.metrics:
            metric.compute_metrics = self._caught(metric.compute_metrics)
        self._failure: str | None = None

    def run(self) -> dict:
        """Validate; see the host.

        Returns:
            The metrics; none if they could not be measured.
        """
        self.runner.call_hook('before_val')
        self.runner.call_hook('before_val_epoch')
        self.runner.model.eval()
        self.val_loss.clear()
        metrics, reason = self._measure()
        if reason is None:
            self.runner.call_hook('after_val_epoch', metrics=metrics)
        else:
            self._pass_over(reason)
        self.runner.call_hook('after_val')
        return metrics

    def _measure(self) -> tuple[dict, str | None]:
        """The metrics, or why there are none; the same in all processes."""
        self._failure = None
        number, batch = -1, None
        try:
            for number, batch in enumerate(self.dataloader):
                self.run_iter(number, batch)
                batch = None
        except Exception as error:
            self._failure = self._describe(error, number, batch)
        failed = [text for text in all_gather_object(self._failure) if text]
        if failed:
            return {}, failed[0]
        metrics = self.evaluator.evaluate(len(self.dataloader.dataset))
        outcome = [self._failure]
        broadcast_object_list(outcome)  # the first process alone has computed
        if outcome[0] is not None:
            return {}, outcome[0]
        if self.val_loss:
            metrics.update(_parse_losses(self.val_loss, 'val'))
        return metrics, None

    def _describe(self, error: Exception, number: int, batch) -> str:
        """What went wrong in an iteration, and with which image.

        Args:
            error: The error.
            number: The last batch that was loaded.
            batch: It, if it failed; None if the next one could not be loaded.
        """
        if batch is not None:
            place = part_of(error)
            files = image_files(batch)
            more = f' and {len(files) - 1} more' if len(files) > 1 else ''
            place += f', {files[0]}{more}' if files else ''
            return _told(error, place)
        indices = next(islice(self.dataloader.batch_sampler, number + 1, None), ())
        with preserved_randomness():
            for index in indices:  # once more, here: a worker does not tell which
                try:
                    self.dataloader.dataset[index]
                except Exception as again:
                    return _told(again, part_of(again))
        return _told(error, '')

    def _caught(self, compute: Callable[[list], dict]) -> Callable[[list], dict]:
        """Let a metric that fails give nothing: other processes wait for what it is."""

        def computed(results: list) -> dict:
            """Compute the metric, or keep why that fails."""
            try:
                return compute(results)
            except Exception as error:
                self._failure = _told(error, part_of(error))
                return {}

        return computed

    def _pass_over(self, reason: str) -> None:
        """Say it, and leave nothing of it behind."""
        for metric in self.evaluator.metrics:
            metric.results.clear()
        free_memory()
        self.runner.logger.warning(
            f'The validation after {self.runner.iter} iterations failed, the training '
            f'goes on: {reason}'
        )
        for hook in self.runner.hooks:
            if is_method_overridden('before_val_epoch', Hook, hook):
                hook.after_val_epoch(self.runner, metrics={})


def _told(error: Exception, place: str) -> str:
    return failure_line(error) + (f' (in {place})' if place else '')
