"""Refuse a checkpoint that does not fit the run, before anything of it is loaded."""

from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch import Tensor

from ..registry import HOOKS
from ..transfer.config_text import read_config_text
from ..utils.host import chosen_seed, set_seed
from .checks import (
    check_averages,
    check_host_schedulers,
    check_model,
    check_optimizer,
    check_parts,
    check_same_file,
    keep_settings,
    wrappers_of,
)
from .loop import ResumableTrainLoop
from .record import (
    Difference,
    batch_size,
    compare_data,
    compare_settings,
    describe_files,
    make_record,
    new_run_id,
    sampler_of,
    settings_of,
    shown,
)
from .sharding import check_saving


@HOOKS.register_module()
class StrictCheckpointHook(Hook):
    """Refuse a checkpoint that does not fit, and give each one a record of its run.

    On resume and on ``load_from`` keys, shapes and types of the weights have to be
    those of the model. A resume also compares optimizer state, data, seed and settings
    with the record: what may change (batch, processes, length) goes on at the same
    progress, what the config says otherwise (rates) is applied, both in one line of the
    log; what would make it another experiment is refused. The host would warn and go
    on: with the weights that happen to fit, an optimizer state of other shapes, the old
    rates and the old iterations.

    Args:
        insist: Resume although it is another experiment.
    """

    priority = 'VERY_HIGH'

    def __init__(self, insist: bool = False) -> None:
        self.insist = insist
        self._run_id: str | None = None
        self._files: dict | None = None

    def before_train(self, runner) -> None:
        """Name the run, unless it goes on with another one.

        Args:
            runner: The runner.

        Raises:
            ValueError: If checkpoints could not be written whole.
        """
        check_saving(runner.model, runner.hooks)
        self._run_id = self._run_id or new_run_id()

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Compare, and put the checkpoint's place into the units of this run.

        Args:
            runner: The runner.
            checkpoint: What was read; changed where this run says otherwise.

        Raises:
            ValueError: If something does not fit, with the report.
        """
        check_model(runner, checkpoint)
        if getattr(runner, '_resume', False):
            self._resume(runner, checkpoint)
            return
        for name, value in checkpoint.get('state_dict', checkpoint).items():
            # the weights start a new training: no copy has been updated yet
            if name.endswith('.steps') and isinstance(value, Tensor):
                value.zero_()

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Add the record.

        Args:
            runner: The runner.
            checkpoint: Its ``meta`` gets the entry ``run``.
        """
        meta, loop = checkpoint['meta'], runner.train_loop
        self._files = self._files or describe_files(runner.train_dataloader.dataset)
        seen = getattr(loop, 'seen', 0)
        if meta['epoch'] > runner.epoch:  # at the end of an epoch
            seen = 0
        elif isinstance(loop, ResumableTrainLoop):
            # at the end of an iteration that the loop has not counted yet, or not
            seen += loop.batch * (meta['iter'] - runner.iter)
            seen = min(seen, self._files['number'])
        elif isinstance(loop, EpochBasedTrainLoop):
            begun = meta['iter'] - meta['epoch'] * len(loop.dataloader)
            batch = batch_size(runner) * runner.world_size
            seen = min(begun * batch, self._files['number'])
        meta['run'] = make_record(
            runner, self._run_id or new_run_id(), self._files, meta, seen
        )

    def _resume(self, runner, checkpoint: dict) -> None:
        """Compare a checkpoint that a run goes on from."""
        check_parts(checkpoint)
        check_same_file(checkpoint)
        meta = checkpoint['meta']
        record = meta.get('run') or _record_of_old(checkpoint)
        self._run_id = record.get('id')
        self._files = describe_files(runner.train_dataloader.dataset)
        other = _compare_seed(runner, record)
        other += compare_data(record['files'], self._files)
        settings, applied = compare_settings(
            record['settings'], settings_of(runner.cfg), partial='id' not in record
        )
        lines = _changed_course(runner, record)
        lines += check_averages(runner, checkpoint)
        lines += [str(pair) for pair in applied]
        self._refuse_or_insist(runner, [*other, *settings])
        check_host_schedulers(runner, lines, record['max_iters'])
        if any(pair.name == 'optim_wrapper.optimizer.type' for pair in settings):
            for _, saved in wrappers_of(runner.optim_wrapper, checkpoint['optimizer']):
                saved['state'] = {}
            lines.append('its moments start anew')
        check_optimizer(runner.optim_wrapper, checkpoint['optimizer'])
        epoch, seen = _set_place(runner, meta, record, self._files)
        keep_settings(runner, checkpoint['optimizer'])
        meta['seed'] = runner.seed  # what was compared, or is insisted on, holds
        _tell(runner, lines, epoch, seen)

    def _refuse_or_insist(self, runner, other: list[Difference]) -> None:
        """Refuse another experiment, or say that it is one."""
        if not other:
            return
        said = shown(other)
        if not self.insist:
            raise ValueError(
                f'the checkpoint is of another experiment: {said}. Give the settings '
                'that it was trained with, start a new training from its weights with '
                '--checkpoint, or insist on going on: --insist (default_hooks.strict.'
                'insist=True).'
            )
        runner.logger.warning(f'Another experiment is continued, as asked: {said}.')


def _record_of_old(checkpoint: dict) -> dict:
    """What a checkpoint without record tells of its run.

    Its place is known at the end of an epoch; the text of its config tells settings.
    """
    meta, info = checkpoint['meta'], checkpoint['message_hub'].get('runtime_info', {})
    epoch, iteration = meta['epoch'], meta['iter']
    max_epochs, max_iters = info.get('max_epochs'), info.get('max_iters')
    cfg = read_config_text(meta.get('cfg'))
    course = cfg.get('train_cfg') or {}
    by_epoch = course.get('by_epoch', 'Iter' not in str(course.get('type')))
    if by_epoch:
        length = max_iters / max_epochs if max_iters and max_epochs else None
        if length and iteration == (epoch + 1) * length:  # saved before it was counted
            epoch += 1
        elif length is None or iteration != epoch * length:
            raise ValueError(
                'the checkpoint was written within an epoch and has no record of the '
                'images that were seen: resume from one of the end of an epoch'
            )
    loader = cfg.get('train_dataloader') or {}
    wrapper = cfg.get('optim_wrapper') or {}
    return dict(
        epoch=epoch,
        seen=0,
        max_epochs=max_epochs,
        max_iters=max_iters,
        batch_size=loader.get('batch_size'),
        accumulation=wrapper.get('accumulative_counts') or 1,
        seed=meta.get('seed'),
        files=dict(number=None, digest=None),
        settings=settings_of(cfg),
    )


def _changed_course(runner, record: dict) -> list[str]:
    """What may change at a resume, in words."""
    now = dict(
        batch_size=batch_size(runner),
        processes=runner.world_size,
        accumulation=getattr(runner.optim_wrapper, '_accumulative_counts', 1),
        max_epochs=runner.max_epochs,
    )
    if isinstance(runner.train_loop, IterBasedTrainLoop):
        del now['max_epochs']
        now['max_iters'] = runner.max_iters
    pairs = [Difference(name, record.get(name), value) for name, value in now.items()]
    return [str(pair) for pair in pairs if pair.before not in (None, pair.now)]


def _compare_seed(runner, record: dict) -> list[Difference]:
    """The seed, where the config has one; otherwise the checkpoint's is taken."""
    before, sampler = record['seed'], sampler_of(runner)
    if before is None:
        return []
    if chosen_seed(runner) is not None and before != runner.seed:
        return [Difference('randomness.seed', before, runner.seed)]
    if before != runner.seed:  # it was drawn; all that was built with it takes this one
        set_seed(runner, before)
    if hasattr(sampler, 'seed'):
        sampler.seed = record.get('sampler_seed', before)
    return []


def _set_place(runner, meta: dict, record: dict, files: dict) -> tuple[int, int]:
    """Set the loop's place; ``meta`` gets epoch and iteration of this run."""
    loop = runner.train_loop
    epoch, seen = record['epoch'], record['seen']
    if isinstance(loop, IterBasedTrainLoop):
        _check_iterations(runner, meta, record)
        return epoch, 0
    if record['files']['number'] not in (None, files['number']):  # as was insisted on
        seen = round(seen / record['files']['number'] * files['number'])
    if epoch > runner.max_epochs or (epoch == runner.max_epochs and seen):
        raise ValueError(
            f'the checkpoint has {epoch} epochs, and train_cfg.max_epochs is '
            f'{runner.max_epochs}: nothing is left to train. Raise max_epochs.'
        )
    meta['epoch'] = epoch
    if isinstance(loop, ResumableTrainLoop):
        loop.start_at(epoch, seen)
        meta['iter'] = loop.iter
    elif seen:
        raise ValueError(
            'the checkpoint was written within an epoch, where '
            f'{type(loop).__name__} cannot go on: use train_cfg=dict(type='
            "'dseq_mm.ResumableTrainLoop', ...), or resume from one of the end of "
            'an epoch'
        )
    else:
        meta['iter'] = epoch * len(loop.dataloader)
    return epoch, seen


def _check_iterations(runner, meta: dict, record: dict) -> None:
    """The host's loop over iterations skips as many batches of the present size."""
    batch = batch_size(runner) * runner.world_size
    before = (record.get('batch_size') or 0) * record.get('processes', 1)
    if before not in (0, batch):
        raise ValueError(
            f'the checkpoint was trained with {before} images at a time, this run has '
            f'{batch}: {type(runner.train_loop).__name__} would show images again or '
            'leave some out. Keep batch_size times processes.'
        )
    if meta['iter'] > runner.max_iters:
        raise ValueError(
            f'the checkpoint has {meta["iter"]} iterations, and train_cfg.max_iters is '
            f'{runner.max_iters}: nothing is left to train. Raise max_iters.'
        )


def _tell(runner, lines: list[str], epoch: int, seen: int) -> None:
    """Say what has changed and where the training goes on."""
    loop = runner.train_loop
    if lines:
        runner.logger.warning(f'Resumed with changes: {shown(lines)}.')
    if isinstance(loop, ResumableTrainLoop):
        runner.logger.info(
            f'Resumed at image {seen} of epoch {epoch + 1}; the share of the '
            f'training that is done is {loop.progress:.6f}.'
        )
        if loop.left_out:
            runner.logger.warning(
                f'{loop.left_out} images of epoch {epoch + 1} are left out: they do '
                'not fill a batch.'
            )
    if not isinstance(loop, IterBasedTrainLoop) and epoch == runner.max_epochs:
        runner.logger.warning(
            'Nothing is left to train: raise train_cfg.max_epochs to go on.'
        )
