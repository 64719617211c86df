"""What a task's config says: its protocol in words, its data, its batch."""

import json
import re
import traceback
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from ..cli.options import read_options
from ..cli.valid_options import apply_options
from ..data.checks.places import values_of
from ..evaluation.knn import hook_settings
from ..tables import TASKS
from ..tables.kinds import Task
from ..transfer.start import class_token_settings, is_transfer
from ..utils.command import nearest
from ..utils.configs import missing_advice, missing_libraries, read_config
from .subject import Subject

_RATE = 'optim_wrapper.optimizer.lr'
_TOKEN = 'model.backbone.with_cls_token'
_BATCH = 'train_dataloader.batch_size'
_COUNTS = 'optim_wrapper.accumulative_counts'
_BATCH_NORM = re.compile(r'BN\d?d?$|BatchNorm')


class MissingLibrary(ValueError):
    """A task cannot be done here, since a library is not installed."""


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
            near = nearest(task, TASKS)
            meant = f', {near} is one' if near and near != task else ''
            raise ValueError(
                f'--cfg-options {option}: write TASK.key=value{meant}, as in '
                f'linear.train_cfg.max_epochs=1. Tasks: {", ".join(TASKS)}.'
            )
        found.setdefault(task, []).append(setting)
    for settings in found.values():
        read_options(settings)
    return found


def load_config(path: str, options: Sequence[str] = ()) -> Config:
    """Read a config as the tools will.

    Args:
        path: The config.
        options: ``key=value`` texts.

    Returns:
        The config with the options.

    Raises:
        MissingLibrary: A library that it needs cannot be imported.
        ValueError: It does not take an option.
    """
    name = Path(path).name
    try:
        cfg = read_config(path)
    except ValueError as error:
        cause = error.__cause__
        if isinstance(cause, ImportError) or _refuses_versions(cause):
            raise MissingLibrary(missing_advice(name, str(cause))) from error
        raise
    add_options(cfg, options)
    if missing := missing_libraries(cfg):
        raise MissingLibrary(missing_advice(name, ', '.join(missing)))
    return cfg


def _refuses_versions(error: BaseException | None) -> bool:
    """Whether a library asserts, when it is imported, the versions that it needs."""
    if not isinstance(error, AssertionError):
        return False
    last = traceback.extract_tb(error.__traceback__)[-1]
    return Path(last.filename).name == '__init__.py'


def add_options(cfg: Config, options: Sequence[str]) -> None:
    """Change a config as ``--cfg-options`` of the tools does.

    Args:
        cfg: Changed in place.
        options: ``key=value`` texts.

    Raises:
        ValueError: The config does not take an option.
    """
    try:
        apply_options(cfg, read_options(options))
    except ValueError as error:
        name = Path(cfg.filename).name
        raise ValueError(f'{name} does not take an option: {error}') from error


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
    if _given(options) & {_TOKEN}:
        return []
    settings = class_token_settings(cfg, subject.class_token)
    own = cfg.model.backbone.get('with_cls_token', True)
    if subject.class_token and not own and not is_transfer(cfg):  # kNN of I-JEPA's
        settings = {_TOKEN: True}
    flat: dict[str, object] = {}
    for key, value in settings.items():  # a dict is no value on the command line
        parts = value.items() if isinstance(value, dict) else [('', value)]
        flat |= {f'{key}.{name}'.rstrip('.'): part for name, part in parts}
    return [f'{key}={value}' for key, value in flat.items()]


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


def loaders_of(task: Task, cfg: Config) -> list:
    """Find the dataloaders that a task uses.

    Args:
        task: The task.
        cfg: Its config.

    Returns:
        Their configs.
    """
    if task.name == 'knn':
        hook = hook_settings(cfg)
        return [hook['bank'], hook['query']]
    names = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    return [cfg[name] for name in names if cfg.get(name)]


def batch_sizes(cfg: Config, gpus: int) -> tuple[int, int]:
    """Find the images per update, and how many the learning rate is meant for.

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

    More GPUs than the config is written for get fewer images each. Fewer, which may
    not hold more images, accumulate gradients over several iterations, where the length
    of the training is given in epochs. Where it is given in iterations, and where the
    batch cannot be kept, the rate is scaled by actual over intended batch size.

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
    kept = not given & {_BATCH, _RATE, _COUNTS} and cfg.train_cfg.get('max_epochs')
    if batch < meant and meant % batch == 0 and kept:
        counts = cfg.optim_wrapper.get('accumulative_counts', 1)
        return [f'{_COUNTS}={counts * meant // batch}']
    if batch == meant or _RATE in given:
        return []
    return [f'{_RATE}={cfg.optim_wrapper.optimizer.lr * batch / meant!r}']


def deviations(task: Task, cfg: Config, subject: Subject, gpus: int) -> list[str]:
    """Say what differs from the paper's protocol though the user changed nothing.

    Args:
        task: The task.
        cfg: Its config, with the options.
        subject: The checkpoint.
        gpus: Number of processes.

    Returns:
        What differs; beside such a run no figure of the paper may stand.
    """
    if task.name == 'knn':
        return []
    found = []
    batch, meant = batch_sizes(cfg, gpus)
    if batch != meant:
        found.append(f'batch {batch} instead of {meant}')
    if '{token}' in task.features and not subject.class_token:
        found.append('average-pooled patch tokens instead of the class token')
    return found


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
    length = cfg.train_cfg.get('max_epochs'), cfg.train_cfg.get('max_iters')
    return '; '.join(
        [
            'frozen' if cfg.model.backbone.get('frozen') else 'all weights trained',
            task.features.format(token=token),
            f'{optimizer.type}, learning rate {optimizer.lr:g}, weight decay '
            f'{optimizer.get("weight_decay", 0):g}',
            f'{length[0]} epochs' if length[0] else f'{length[1]} iterations',
            _describe_batch(cfg, gpus),
            size,
        ]
    )


def _describe_batch(cfg: Config, gpus: int) -> str:
    batch, meant = batch_sizes(cfg, gpus)
    text = f'batch {batch}' + f' instead of {meant}' * (batch != meant)
    counts = cfg.optim_wrapper.get('accumulative_counts', 1)
    if counts == 1:
        return text
    at_once = batch // counts
    norms = [str(t) for t in values_of(cfg.model, 'type') if _BATCH_NORM.search(str(t))]
    seen = at_once if any('Sync' in norm for norm in norms) else at_once // gpus
    note = f', batch norm over {seen}' if norms else ''
    return f'{text} (accumulated, {counts} x {at_once}{note})'


def _image_size(task: Task, cfg: Config) -> str:
    """Side, or height x width, of what the network sees."""
    loader = loaders_of(task, cfg)[0]
    sizes = [cfg.model.backbone.get('img_size', 224)]
    for pipeline in values_of(loader, 'pipeline'):
        for step in pipeline:
            sizes += [step[key] for key in ('scale', 'crop_size') if key in step]
    size = sizes[-1]
    if not isinstance(size, list | tuple):
        return str(size)
    return str(size[0]) if len(set(size)) == 1 else f'{size[0]} x {size[1]}'
