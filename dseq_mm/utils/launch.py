"""What the command-line tools share: arguments, what they change, the run.

Each function that changes a config returns what the user should know as a list of
lines; the tools write them to the run's log once there is one.
"""

import argparse
import errno
import os
import socket
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.dist import init_dist, is_distributed
from mmengine.registry import RUNNERS
from mmengine.runner import EpochBasedTrainLoop, Runner

from ..engine.preemption import TrainingInterrupted
from .configs import (
    BUDGET_VARIABLE,
    bare_type,
    missing_advice,
    missing_libraries,
    resolve_config,
)
from .metrics import write_metrics
from .processes import leave_group, process_rank
from .work_dir import WorkDirLock

MMENGINE_HOOKS = (
    'runtime_info',
    'timer',
    'sampler_seed',
    'logger',
    'param_scheduler',
    'checkpoint',
)
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif')


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
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config: key=value pairs, as in '
        'train_dataloader.batch_size=64 or key="[a,b]"; nested brackets need quotes',
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
    try:
        cfg = Config.fromfile(path)
    except ImportError as error:
        raise ValueError(missing_advice(Path(path).name, str(error))) from error
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    if missing := missing_libraries(cfg):
        raise ValueError(missing_advice(Path(path).name, ', '.join(missing)))
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        # an ablation's file serves several budgets, named by a variable
        budget = cfg.env_variables.get(BUDGET_VARIABLE)
        name = '_'.join(filter(None, [Path(path).stem, budget]))
        cfg.work_dir = str(Path('work_dirs') / name)
    for field in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if cfg.get(field) is not None:
            _set_dataloader_defaults(cfg[field], cfg.get('default_scope'))
    return cfg


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
    """Whether the config has a custom hook of one type.

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


def use_folder(cfg: Config, folder: str) -> list[str]:
    """Apply ``--data``: train on all images under a folder, without labels.

    The innermost training data set is replaced, its pipeline and wrappers stay. Hooks
    that need labels go.

    Args:
        cfg: Changed in place.
        folder: The folder; images may lie in sub-folders.

    Returns:
        Lines for the log.

    Raises:
        ValueError: If the folder is missing or has no image, or if the config
            concatenates several data sets.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise ValueError(f'--data {folder}: there is no such folder.')
    if not _has_image(path):
        raise ValueError(
            f'--data {folder}: no image in it or below it '
            f'(looked for {", ".join(IMAGE_SUFFIXES)}).'
        )
    holder, key = cfg.train_dataloader, 'dataset'
    while 'dataset' in holder[key]:
        holder, key = holder[key], 'dataset'
    replaced = holder[key]
    if 'datasets' in replaced:
        raise ValueError(
            f'--data cannot replace a {bare_type(replaced)} of several data sets; '
            'write a config with one train_dataloader.dataset.'
        )
    holder[key] = ConfigDict(
        type='CustomDataset',
        data_root='',
        data_prefix=str(path),
        with_label=False,
        pipeline=replaced.pipeline,
    )
    return [
        f'Training on the images under {path} instead of {bare_type(replaced)}.',
        *drop_hooks(cfg, 'KNNHook', f'the images of {path} have no labels'),
    ]


def _has_image(path):
    return any(
        name.lower().endswith(IMAGE_SUFFIXES)
        for _, _, names in os.walk(path, followlinks=True)
        for name in names
    )


def run(cfg: Config, notes: list[str], method: str, given: Iterable[str] = ()) -> Any:
    """Build the runner, write the notes to its log, and run it.

    The process group stays; :func:`leave_group` is to be called in the end.

    Args:
        cfg: The finished config.
        notes: What the functions above returned.
        method: ``'train'`` or ``'test'``.
        given: Settings that the user has overridden.

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
        if method == 'train' and process_rank() == 0:
            stack.enter_context(WorkDirLock(cfg.work_dir))
        runner = build(cfg)
        for note in notes:
            runner.logger.info(note)
        if method == 'train':
            _check_epoch(runner.train_loop)
            _check_batch(runner, given)
        try:
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
