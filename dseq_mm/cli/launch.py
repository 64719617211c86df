"""What the command-line tools share: arguments, what they change, the run.

Each function that changes a config returns what the user should know as a list of
lines; the tools write them to the run's log once there is one.
"""

import argparse
import errno
import os
import socket
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import init_dist, is_distributed
from mmengine.registry import RUNNERS
from mmengine.runner import EpochBasedTrainLoop, Runner

from ..engine.preemption import TrainingInterrupted
from ..engine.work_dir import WorkDirLock
from ..utils.command import check_folder
from ..utils.configs import (
    BUDGET_VARIABLE,
    bare_type,
    missing_advice,
    missing_libraries,
    read_config,
    resolve_config,
)
from ..utils.host import has_validation
from ..utils.metrics import write_metrics
from .building import name_parts
from .first_step import FirstStepHook
from .options import add_options_argument
from .processes import check_launcher, leave_group, process_rank
from .readable import readable, summary
from .readers import MMENGINE_HOOKS
from .valid_options import apply_options, check_config


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that training and testing share.

    Args:
        parser: Where they go.
    """
    parser.add_argument(
        'config',
        help='path of a config, or its name, such as dseq_vitb16_600e or '
        'mmpretrain::mae/NAME.py',
    )
    parser.add_argument(
        '--work-dir', help='where logs and results go (work_dirs/NAME_OF_CONFIG)'
    )
    add_options_argument(parser)
    parser.add_argument(
        '--verbose', action='store_true', help='print all that the log file holds'
    )
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none'
    )
    # torch.distributed passes one of them, depending on its age
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def load_config(args: argparse.Namespace) -> Config:
    """Read the config and apply the arguments that all tools share.

    Args:
        args: What was parsed; see :func:`add_common_arguments`.

    Returns:
        The config, ``work_dir`` set.

    Raises:
        ValueError: If there is no such config, or a library that it needs cannot be
            imported.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    path = resolve_config(args.config)
    check_launcher(args.launcher)
    cfg = read_config(path)
    change_config(cfg, args.cfg_options)
    if missing := missing_libraries(cfg):
        raise ValueError(missing_advice(Path(path).name, ', '.join(missing)))
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        # an ablation's file serves several budgets, named by a variable
        budget = cfg.env_variables.get(BUDGET_VARIABLE)
        name = '_'.join(filter(None, [Path(path).stem, budget]))
        cfg.work_dir = str(Path('work_dirs') / name)
    check_folder(cfg.work_dir, '--work-dir')
    for field in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if cfg.get(field) is not None:
            _set_dataloader_defaults(cfg[field], cfg.get('default_scope'))
    return cfg


def change_config(cfg: Config, options: dict[str, Any]) -> None:
    """Apply ``--cfg-options``, and refuse what nothing reads in them or in hooks.

    Args:
        cfg: Changed in place.
        options: Dotted key to value.

    Raises:
        ValueError: See :func:`.apply_options` and :func:`.check_config`.
    """
    notes = apply_options(cfg, options)
    check_config(cfg)
    fit_workers(cfg)
    for note in notes if process_rank() == 0 else ():
        print(f'Warning: {note}', file=sys.stderr)


def fit_workers(cfg: Config) -> None:
    """Let loaders without worker processes have none of the settings of workers.

    ``num_workers=0`` alone would be refused by PyTorch where a config keeps its
    workers between epochs.

    Args:
        cfg: Changed in place.
    """
    loaders = [cfg.get(f'{name}_dataloader') for name in ('train', 'val', 'test')]
    for hook in cfg.get('custom_hooks') or []:
        loaders += hook.values() if isinstance(hook, dict) else ()
    for loader in loaders:
        if not isinstance(loader, dict) or 'dataset' not in loader:
            continue
        if loader.get('num_workers', 0) == 0:
            for name in ('persistent_workers', 'prefetch_factor', 'timeout'):
                loader.pop(name, None)


def _set_dataloader_defaults(loader, scope):
    loader.setdefault('pin_memory', torch.cuda.is_available())
    loader.setdefault('persistent_workers', loader.get('num_workers', 0) > 0)
    # as mmpretrain's own tools; mmdet and mmseg keep mmengine's lists of images
    if scope == 'mmpretrain':
        loader.setdefault('collate_fn', dict(type='default_collate'))


def set_amp(cfg: Config) -> None:
    """Apply ``--amp``: bfloat16 with our wrapper, mmengine's float16 otherwise.

    Args:
        cfg: Changed in place.

    Raises:
        ValueError: If mmengine's wrapper is asked for without a GPU.
    """
    wrapper = cfg.optim_wrapper
    if bare_type(wrapper) == 'GuardedOptimWrapper':
        wrapper.dtype = 'bfloat16'
        return
    if not torch.cuda.is_available():
        raise ValueError(
            '--amp with AmpOptimWrapper needs a GPU. On the CPU set '
            "optim_wrapper.type='GuardedOptimWrapper', which trains in bfloat16."
        )
    wrapper.type = 'AmpOptimWrapper'
    wrapper.setdefault('loss_scale', 'dynamic')


def set_auto_scale_lr(cfg: Config) -> None:
    """Apply ``--auto-scale-lr``.

    Args:
        cfg: Changed in place.

    Raises:
        ValueError: If the config does not say for which batch size its rate is meant.
    """
    if not cfg.get('auto_scale_lr', {}).get('base_batch_size'):
        raise ValueError(
            '--auto-scale-lr needs the batch size that the learning rate is meant '
            'for: add auto_scale_lr = dict(base_batch_size=...) to the config.'
        )
    cfg.auto_scale_lr.enable = True


def disable_validation(cfg: Config) -> list[str]:
    """Apply ``--no-validate``: no validation loop and no kNN hook.

    Args:
        cfg: Changed in place.

    Returns:
        Lines for the log.
    """
    for field in ('val_cfg', 'val_dataloader', 'val_evaluator'):
        cfg[field] = None
    return drop_hooks(cfg, 'KNNHook', 'validation is off')


def has_hook(cfg: Config, name: str) -> bool:
    """Tell whether the config has a custom hook of one type.

    Args:
        cfg: The config.
        name: Type of the hook, without scope.

    Returns:
        True if it has.
    """
    return any(bare_type(hook) == name for hook in cfg.get('custom_hooks') or [])


def drop_hooks(cfg: Config, name: str, reason: str) -> list[str]:
    """Remove the custom hooks of one type.

    Args:
        cfg: Changed in place.
        name: Type of the hook, without scope.
        reason: Why, for the log.

    Returns:
        One line for the log if there was such a hook.
    """
    if not has_hook(cfg, name):
        return []
    cfg.custom_hooks = [h for h in cfg.custom_hooks if bare_type(h) != name]
    return [f'{name} was removed: {reason}.']


def turn_off_hooks(cfg: Config) -> None:
    """Let ``default_hooks = dict(NAME=None)`` turn off any hook.

    mmengine knows that for its own hooks and asserts for others.

    Args:
        cfg: Changed in place.
    """
    hooks = cfg.get('default_hooks') or {}
    for name in [name for name, hook in hooks.items() if hook is None]:
        if name not in MMENGINE_HOOKS:
            del hooks[name]


def run(
    cfg: Config,
    notes: list[str],
    method: str,
    given: Iterable[str] = (),
    verbose: bool = False,
) -> Any:
    """Build the runner, write the notes to its log, and run it.

    The process group stays; :func:`leave_group` is to be called in the end.

    Args:
        cfg: The finished config.
        notes: What the functions above returned.
        method: ``'train'`` or ``'test'``.
        given: Settings that the user has overridden.
        verbose: Print all that the log file holds, not only what a person reads.

    Returns:
        What that method of the runner returns: the model, or the metrics.

    Raises:
        ValueError: If an epoch of training has no batch, or another training is
            writing into the work dir.
        TrainingInterrupted: After SIGTERM or SIGUSR1, the training saved.
    """
    turn_off_hooks(cfg)
    build = RUNNERS.build if 'runner_type' in cfg else Runner.from_cfg
    with ExitStack() as stack:
        stack.enter_context(readable(verbose))
        if method == 'train' and process_rank() == 0:
            stack.enter_context(WorkDirLock(cfg.work_dir))
        with name_parts(cfg):
            runner = build(cfg)
        for note in [*summary(runner), *notes]:
            runner.logger.info(note)
        first = FirstStepHook()
        runner.register_hook(first)
        try:
            with name_parts(cfg), first.explained():
                if method == 'train':
                    _check_epoch(runner.train_loop)
                    _check_best(runner)
                    _check_batch(runner, given)
                return getattr(runner, method)()
        except TrainingInterrupted as interrupted:
            _leave_status(interrupted)
            leave_group()  # all processes end here, in order
            raise
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise OSError(
                f'The disk is full ({error.filename or cfg.work_dir}); the checkpoints '
                'that were written are whole. Free space, then continue with --resume.'
            ) from error
        finally:
            # after an error too: a progress bar would hide what is printed next
            runner.call_hook('close_bar')


def _leave_status(interrupted):
    """Tell the shell scripts what torchrun's and srun's own status hides."""
    if path := os.environ.get('DSEQ_MM_STATUS'):
        draft = f'{path}.{socket.gethostname()}.{os.getpid()}'
        Path(draft).write_text(f'{interrupted.code} {interrupted.signal_name}')
        os.replace(draft, path)


def _check_best(runner):
    """Complain about ``save_best`` where nothing measures, which mmengine ignores."""
    measured = has_validation(runner) or has_hook(runner.cfg, 'KNNHook')
    wanted = [getattr(hook, 'save_best', None) for hook in runner.hooks]
    if any(wanted) and not measured:
        raise ValueError(
            f'save_best={next(filter(None, wanted))!r}, but nothing is measured in '
            'this training: there is no validation and no KNNHook. Leave '
            'default_hooks.checkpoint.save_best out.'
        )


def _check_epoch(loop):
    """Complain about an epoch without a batch before mmengine's scheduler does."""
    if not isinstance(loop, EpochBasedTrainLoop):
        return  # a loop of iterations goes on with the next round of the images
    if len(loop.dataloader) == 0:
        raise ValueError(
            f'{len(loop.dataloader.dataset)} images do not fill one batch of '
            f'{loop.dataloader.batch_sampler.batch_size} on each process: lower '
            'train_dataloader.batch_size (--cfg-options), or set '
            'train_dataloader.drop_last=False.'
        )


def _check_batch(runner, given):
    """Warn if the learning rate is meant for another batch than this run's.

    Both are counted per iteration, as the scaling rule does, which ignores
    accumulation. Who sets that or the rate knows.
    """
    meant = runner.cfg.get('auto_scale_lr') or {}
    own = ('optim_wrapper.accumulative_counts', 'optim_wrapper.optimizer.lr')
    if meant.get('enable') or not meant.get('base_batch_size') or {*own} & {*given}:
        return
    batch = runner.world_size * runner.train_dataloader.batch_sampler.batch_size
    if batch != meant.base_batch_size:
        runner.logger.warning(
            f'The learning rate is for {meant.base_batch_size} images at a time, this '
            f'run has {batch}: add --auto-scale-lr, or set a rate of your own.'
        )


def run_knn(cfg: Config, checkpoint: str, out: str | None = None) -> None:
    """Measure a pre-training checkpoint by kNN, as the config's ``KNNHook`` says.

    The metrics are printed and written.

    Args:
        cfg: The finished config.
        checkpoint: Path of the checkpoint.
        out: File to write; ``knn.json`` in the work dir by default.
    """
    from ..evaluation.knn import evaluate_config

    if cfg.launcher != 'none' and not is_distributed():
        init_dist(cfg.launcher, **cfg.get('env_cfg', {}).get('dist_cfg', {}))
    metrics = evaluate_config(cfg, checkpoint)
    write_metrics(metrics, out or Path(cfg.work_dir) / 'knn.json')
