"""Look at the data before the first step."""

from collections.abc import Callable
from typing import Any

from mmengine.dist import all_gather_object, broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop

from ..data.checks import (
    Findings,
    agree_on_classes,
    check_data_set,
    check_evaluator,
    head_classes,
)
from ..data.classes import class_names
from ..registry import HOOKS
from ..utils.command import explain
from .clock import unwrap


@HOOKS.register_module()
class DataHook(Hook):
    """Say what data are used, and refuse what cannot be right.

    Before a training it logs what is used and what is left out, compares the classes of
    the training and validation data by name, labels with the number of classes of the
    heads, and the images of the validation data with those of its evaluator, and looks
    at annotation files of COCO's format and maps of ADE20K's. Before a test it compares
    the classes of the checkpoint with those of the test data. An image folder whose
    classes are some of the known ones, or in another order, is read again with their
    labels.

    Files are looked at by the first process alone; all processes end alike.
    """

    priority = 'HIGH'  # before kNN builds its data, after checkpoints are refused

    def __init__(self) -> None:
        self._trained: tuple[str, ...] | None = None
        self._training = False

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Remember the classes that a checkpoint was trained on.

        Args:
            runner: Unused.
            checkpoint: Its `meta` tells them.
        """
        meta = (checkpoint.get('meta') or {}).get('dataset_meta') or {}
        classes = meta.get('classes') or meta.get('CLASSES')
        self._trained = tuple(map(str, classes)) if classes else None

    def before_train(self, runner) -> None:
        """Check the data of the training and the validation.

        Args:
            runner: The runner.

        Raises:
            ValueError: If something is wrong with them.
        """
        self._training = True
        loops = dict(train=runner.train_loop)
        if isinstance(runner.val_loop, BaseLoop):
            loops['val'] = runner.val_loop
        data = {name: loop.dataloader.dataset for name, loop in loops.items()}
        heads = head_classes(unwrap(runner.model))

        def agree() -> str | None:
            """Compare the classes of validation and training."""
            if 'val' not in data:
                return None
            wanted = class_names(data['train'])
            return agree_on_classes(wanted, data['val'], 'val against train')

        self._check(runner, loops, heads, agree)
        if 'val' in data:
            _tell_evaluator(runner.val_loop)

    def before_val(self, runner) -> None:
        """Check the data of a validation that is not part of a training.

        Args:
            runner: The runner.
        """
        if not self._training:
            self._check_evaluated(runner, runner.val_loop, 'val')

    def before_test(self, runner) -> None:
        """Check the data of a test.

        Args:
            runner: The runner.
        """
        self._check_evaluated(runner, runner.test_loop, 'test')

    def _check_evaluated(self, runner, loop: BaseLoop, name: str) -> None:
        dataset = loop.dataloader.dataset
        heads = head_classes(unwrap(runner.model))
        what = f'{name} data against the checkpoint'
        # without heads the classes were no labels of the training
        wanted = self._trained if heads else None
        self._check(
            runner,
            {name: loop},
            heads,
            lambda: agree_on_classes(wanted, dataset, what),
        )
        _tell_evaluator(loop)

    def _check(
        self,
        runner,
        loops: dict[str, Any],
        heads: dict[str, int],
        agree: Callable[[], str | None],
    ) -> None:
        """Compare classes in every process, files in the first; then all know it."""
        found = Findings()
        compared: set[str] = set()
        try:
            if note := agree():
                found.warnings.append(note)
            if all(class_names(loop.dataloader.dataset) for loop in loops.values()):
                compared = {'val'} if 'train' in loops else set()
        except ValueError as error:
            found.errors.append(explain(error))
            compared = loops.keys() - {'train'}
        if is_main_process():
            for name, loop in loops.items():
                dataset = loop.dataloader.dataset
                try:
                    found.add(check_data_set(dataset, heads, name in compared), name)
                    if evaluator := getattr(loop, 'evaluator', None):
                        config = runner.cfg.get(f'{name}_evaluator')
                        found.add(check_evaluator(dataset, evaluator, config, name))
                except Exception as error:  # files that nobody thought of
                    found.errors.append(f'{name}: {explain(error)}')
        for line in found.notes:
            runner.logger.info(f'Data: {line}')
        for line in found.warnings:
            runner.logger.warning(f'Data: {line}')
        problems = [found.errors]
        broadcast_object_list(problems)
        errors = problems[0] or next(filter(None, all_gather_object(found.errors)), [])
        if errors:
            more = f' (and {len(errors) - 1} more problems)' if len(errors) > 1 else ''
            for line in errors[1:]:
                runner.logger.error(f'Data: {line}')
            raise ValueError(f'{errors[0]}{more}')


def _tell_evaluator(loop: BaseLoop) -> None:
    """Let metrics use the classes that the data set has now."""
    metainfo = getattr(loop.dataloader.dataset, 'metainfo', None)
    if metainfo is not None:
        loop.evaluator.dataset_meta = metainfo
