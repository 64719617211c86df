"""What a task's config says: its protocol in words, its data, its batch."""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction

from ..knn import hook_settings
from .subject import Subject
from .tasks import TASKS, Task

_RATE = 'optim_wrapper.optimizer.lr'
_TOKEN = 'model.backbone.with_cls_token'
_BATCH = 'train_dataloader.batch_size'


def split_options(options: Sequence[str]) -> dict[str, list[str]]:
    """Sort the options of the command line by task.

    Args:
        options: ``TASK.key=value`` each.

    Returns:
        Name of the task to its ``key=value`` texts.

    Raises:
        ValueError: An option is not of that form, or there is no such task.
    """
    found: dict[str, list[str]] = {}
    for option in options:
        task, dot, setting = option.partition('.')
        if task not in TASKS or not dot or '=' not in setting:
            raise ValueError(
                f'--cfg-options {option}: write TASK.key=value, as in '
                f'linear.train_cfg.max_epochs=1. Tasks: {", ".join(TASKS)}.'
            )
        found.setdefault(task, []).append(setting)
    return found


def load_config(path: str, options: Sequence[str] = ()) -> Config:
    """Read a config as the tools will.

    Args:
        path: The config.
        options: ``key=value`` texts.

    Returns:
        The config with the options.

    Raises:
        ValueError: It cannot be read, for want of a library or because of an option.
    """
    try:
        cfg = Config.fromfile(path)
    except ImportError as error:
        raise ValueError(
            f'{Path(path).name} needs a library that cannot be imported ({error}); '
            '`python -m dseq_mm.doctor` says how to install it'
        ) from error
    add_options(cfg, options)
    return cfg


def add_options(cfg: Config, options: Sequence[str]) -> None:
    """Change a config as ``--cfg-options`` of the tools does.

    Args:
        cfg: Changed in place.
        options: ``key=value`` texts.

    Raises:
        ValueError: The config does not take an option.
    """
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument('--options', nargs='+', action=DictAction, default={})
    try:
        values = parser.parse_args(['--options', *options] if options else [])
        cfg.merge_from_dict(values.options)
    except (KeyError, TypeError, IndexError, argparse.ArgumentError) as error:
        raise ValueError(
            f'{Path(cfg.filename).name} does not take the options '
            f'{" ".join(options)}: {error}'
        ) from error


def class_token_options(
    cfg: Config, options: Sequence[str], subject: Subject
) -> list[str]:
    """Fit a config to a checkpoint with or without class token.

    Args:
        cfg: Config of a task.
        options: ``key=value`` texts of the user, who may have decided it.
        subject: The checkpoint.

    Returns:
        ``key=value`` texts. Without class token, a head on it gets the average of the
        patch tokens.
    """
    backbone = cfg.model.backbone
    own = backbone.get('with_cls_token', True)
    if own == subject.class_token or _given(options) & {_TOKEN}:
        return []
    added = [f'{_TOKEN}={subject.class_token}']
    if backbone.get('out_type') == 'cls_token':
        added.append('model.backbone.out_type=featmap')
        added.append('model.neck.type=GlobalAveragePooling')
    return added


def _given(options: Sequence[str]) -> set[str]:
    """The keys of ``key=value`` texts."""
    return {option.partition('=')[0] for option in options}


def settings_text(cfg: Config) -> str:
    """Write a config so that equal configs give equal texts.

    Args:
        cfg: The config.

    Returns:
        JSON with sorted keys.
    """
    return json.dumps(cfg.to_dict(), sort_keys=True, default=str)


def missing_folders(task: Task, cfg: Config) -> list[str]:
    """Look for the data of a task.

    Args:
        task: The task.
        cfg: Its config.

    Returns:
        The data folders that do not exist.
    """
    roots = {
        str(root).rstrip('/')
        for loader in _loaders(task, cfg)
        for root in _values(loader, 'data_root')
    }
    return sorted(
        root for root in roots if root and '://' not in root and not Path(root).is_dir()
    )


def _loaders(task: Task, cfg: Config) -> list:
    if task.name == 'knn':
        hook = hook_settings(cfg)
        return [hook['bank'], hook['query']]
    names = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    return [cfg[name] for name in names if cfg.get(name)]


def _values(node: Any, key: str) -> Iterator:
    """All values of a key, at any depth."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == key and value is not None:
                yield value
            yield from _values(value, key)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _values(value, key)


def batch_sizes(cfg: Config, gpus: int) -> tuple[int, int]:
    """The images per update, and how many the learning rate is meant for.

    Args:
        cfg: Config of a task that trains.
        gpus: Number of processes.

    Returns:
        Both, equal where the config does not say the second.
    """
    loader = cfg.train_dataloader
    sampler = loader.get('batch_sampler') or {}
    batch = loader.get('batch_size') or sampler.get('batch_size', 1)
    batch = batch * gpus * cfg.optim_wrapper.get('accumulative_counts', 1)
    return batch, (cfg.get('auto_scale_lr') or {}).get('base_batch_size') or batch


def batch_options(cfg: Config, options: Sequence[str], gpus: int) -> list[str]:
    """Keep the batch that the learning rate is meant for, or fit the rate to it.

    More GPUs than the config is written for get fewer images each. With fewer, which
    may not hold more images, the rate is scaled by actual over intended batch size.

    Args:
        cfg: Config of a task that trains.
        options: ``key=value`` texts of the user, who may have set batch or rate.
        gpus: Number of processes.

    Returns:
        ``key=value`` texts, empty where nothing is to be done.
    """
    given = _given(options)
    batch, meant = batch_sizes(cfg, gpus)
    shares = gpus * cfg.optim_wrapper.get('accumulative_counts', 1)
    if batch > meant and meant % shares == 0 and _BATCH not in given:
        return [f'{_BATCH}={meant // shares}']
    if batch == meant or _RATE in given:
        return []
    return [f'{_RATE}={cfg.optim_wrapper.optimizer.lr * batch / meant!r}']


def describe(task: Task, cfg: Config, subject: Subject, gpus: int) -> str:
    """Write the protocol in one line.

    Args:
        task: The task.
        cfg: Its config, with the options.
        subject: The checkpoint.
        gpus: Number of processes.

    Returns:
        What is frozen, which features, optimizer, length, batch, image size.
    """
    size = f'{_image_size(task, cfg)} px'
    if task.name == 'knn':
        hook = hook_settings(cfg)
        return (
            f'frozen; {task.features}; k = {hook.get("k", 20)}, temperature '
            f'{hook.get("temperature", 0.07)}, bank of '
            f'{100 * hook.get("bank_fraction", 1):g} % of the training images; no '
            f'training; {size}'
        )
    token = 'class token' if subject.class_token else 'average-pooled patch tokens'
    optimizer = cfg.optim_wrapper.optimizer
    batch, meant = batch_sizes(cfg, gpus)
    images = f'batch {batch}' + f' instead of {meant}' * (batch != meant)
    length = cfg.train_cfg.get('max_epochs'), cfg.train_cfg.get('max_iters')
    return '; '.join(
        [
            'frozen' if cfg.model.backbone.get('frozen') else 'all weights trained',
            task.features.format(token=token),
            f'{optimizer.type}, learning rate {optimizer.lr:g}, weight decay '
            f'{optimizer.get("weight_decay", 0):g}',
            f'{length[0]} epochs' if length[0] else f'{length[1]} iterations',
            images,
            size,
        ]
    )


def _image_size(task: Task, cfg: Config) -> str:
    """Side, or height x width, of what the network sees."""
    loader = _loaders(task, cfg)[0]
    sizes = [cfg.model.backbone.get('img_size', 224)]
    for pipeline in _values(loader, 'pipeline'):
        for step in pipeline:
            sizes += [step[key] for key in ('scale', 'crop_size') if key in step]
    size = sizes[-1]
    if not isinstance(size, list | tuple):
        return str(size)
    return str(size[0]) if len(set(size)) == 1 else f'{size[0]} x {size[1]}'
