"""The record of a run that its checkpoints carry, and what a resume makes of it.

Plain data, so that it can be read without running anything: where the training stands,
what it is trained on, and the settings that decide what is learned.
"""

import hashlib
import math
import re
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import mmengine
import mmpretrain
import torch
from mmengine.dist import broadcast_object_list
from mmengine.runner import IterBasedTrainLoop

from ..version import __version__

#: Settings that a resume may change without a word: where things lie, how fast.
_FREE = (
    r'model\..*init_cfg\b.*',
    r'model\.(warm_start|test_cfg\b.*)',
    r'(model\.)?data_preprocessor\.non_blocking',
    r'.*\b(with_cp|varlen|compile_layers|unrolled|monitor)',
    r'.*\b(data_root|data_prefix|ann_file|sources|backend_args)\b.*',
    r'optim_wrapper\.accumulative_counts',  # told as accumulation
    r'.*\b(lazy_init|serialize_data|max_unreadable|with_label)',
)
#: Types that do the same with the images and settings of a run.
_ALIKE = {
    'SyncBN': 'BN',  # as one process has it
    'ImageFolder': 'CustomDataset',
    'ImageNetFolder': 'ImageNet',
    'OwnImages': 'CustomDataset',
    'LoadImage': 'LoadImageFromFile',
}
#: Settings that a resume takes from the config, and says so.
_APPLIED = (
    r'auto_scale_lr\..*',
    r'optim_wrapper\.(?!optimizer\.type|constructor).*',
    r'param_scheduler\b.*',
    r'model\.target_encoder\..*momentum',
)


class Difference(NamedTuple):
    """What a checkpoint and a config say differently.

    Args:
        name: Dotted name of the setting.
        before: In the checkpoint.
        now: In this run.
    """

    name: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f'{self.name} was {_value(self.before)}, is {_value(self.now)}'


def new_run_id() -> str:
    """Make a name for a run, the same in all processes.

    Returns:
        Hexadecimal digits.
    """
    name = [uuid.uuid4().hex]
    broadcast_object_list(name)
    return name[0]


def make_record(runner, run_id: str, files: dict, meta: dict, seen: int) -> dict:
    """Describe a run and its place.

    Args:
        runner: The runner.
        run_id: Name of the run.
        files: What :func:`describe_files` found.
        meta: That of the checkpoint, with the epochs and iterations that are done.
        seen: Images of the next epoch that are done.

    Returns:
        Numbers, texts, lists and dicts.
    """
    wrapper = runner.optim_wrapper
    size = batch_size(runner)
    accumulated = getattr(wrapper, '_accumulative_counts', 1)
    share = min(seen / max(files['number'], 1), 1.0)
    progress = (meta['epoch'] + share) / max(runner.max_epochs, 1)
    if isinstance(runner.train_loop, IterBasedTrainLoop):
        progress = meta['iter'] / max(runner.max_iters, 1)
    return dict(
        version=1,
        id=run_id,
        epoch=meta['epoch'],
        seen=seen,
        progress=progress,
        max_epochs=runner.max_epochs,
        max_iters=runner.max_iters,
        batch_size=size,
        processes=runner.world_size,
        accumulation=accumulated,
        global_batch=size * runner.world_size * accumulated,
        seed=runner.seed,
        sampler_seed=getattr(sampler_of(runner), 'seed', None),
        files=files,
        versions=dict(
            dseq_mm=__version__,
            torch=str(torch.__version__),  # a class of its own
            mmengine=mmengine.__version__,
            mmpretrain=mmpretrain.__version__,
        ),
        settings=settings_of(runner.cfg),
    )


def sampler_of(runner) -> Any:
    """Find the sampler that deals out the images of an epoch.

    Args:
        runner: The runner, its training loop built.

    Returns:
        The sampler; it may be within a batch sampler and within that of the loop.
    """
    loader = runner.train_dataloader
    sampler = getattr(loader.batch_sampler, 'sampler', loader.sampler)
    return getattr(sampler, 'sampler', sampler)


def batch_size(runner) -> int:
    """Tell how many images one process sees in an iteration.

    Args:
        runner: The runner, its training loop built.

    Returns:
        The number.
    """
    loader = runner.train_dataloader
    size = getattr(loader.batch_sampler, 'batch_size', None) or loader.batch_size
    return int(size or 1)


def describe_files(dataset) -> dict:
    """Count the images of a data set and compute a checksum of names and labels.

    Names are relative to their folder, so data that were moved are the same data. What
    is in the files is not looked at.

    Args:
        dataset: The training data set.

    Returns:
        ``number`` and ``digest``, None where the data set does not tell files.
    """
    digest = hashlib.sha256()
    for name in _file_names(dataset):
        if name is None:
            return dict(number=len(dataset), digest=None)
        digest.update(name.encode('utf-8', 'surrogateescape') + b'\0')
    return dict(number=len(dataset), digest=digest.hexdigest())


def _file_names(dataset) -> Iterator[str | None]:
    """Image files and labels in order; None where they are not known."""
    parts = getattr(dataset, 'datasets', None)
    if parts is not None:
        for part in parts:
            yield from _file_names(part)
        return
    prefix = _image_folder(dataset)
    for index in range(len(dataset)):
        try:
            info = dataset.get_data_info(index)
            path = info.get('listed_as') or info['img_path']
        except (AttributeError, KeyError, TypeError, NotImplementedError):
            yield None
            return
        yield f'{str(path).removeprefix(prefix).lstrip("/")}{_labels(info)}'


def _labels(info: dict) -> str:
    """What an image is labeled with, as far as it is cheap to tell."""
    instances = [str(item.get('bbox_label')) for item in info.get('instances', ())]
    segmentation = str(info.get('seg_map_path', '')).rpartition('/')[2]
    return f' {info.get("gt_label", "")} {",".join(instances)} {segmentation}'


def _image_folder(dataset) -> str:
    """The folder that a data set was pointed to."""
    while not hasattr(dataset, 'data_prefix') and hasattr(dataset, 'dataset'):
        dataset = dataset.dataset
    prefix = getattr(dataset, 'data_prefix', None)
    folders = list(prefix.values()) if isinstance(prefix, dict) else [prefix]
    return str(folders[0]) if folders and folders[0] else ''


def settings_of(cfg) -> dict[str, Any]:
    """Collect the settings of a config that decide what is learned.

    Args:
        cfg: The config.

    Returns:
        Dotted name to number, text or None.
    """
    loader = cfg.get('train_dataloader') or {}
    loader = loader if isinstance(loader, dict) else {}
    scaling = cfg.get('auto_scale_lr') or {}
    chosen = dict(
        model=cfg.get('model'),
        data_preprocessor=cfg.get('data_preprocessor'),
        optim_wrapper=cfg.get('optim_wrapper'),
        param_scheduler=cfg.get('param_scheduler'),
        auto_scale_lr=dict(
            enable=bool(scaling.get('enable')),
            base_batch_size=scaling.get('base_batch_size')
            if scaling.get('enable')
            else None,
        ),
        train_dataloader={
            key: loader.get(key) for key in ('dataset', 'sampler', 'drop_last')
        },
    )
    return dict(_flat(chosen, ''))


def _flat(node: Any, name: str) -> Iterator[tuple[str, Any]]:
    """All values at any depth, as plain data."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == 'type' and isinstance(value, str):
                value = value.rpartition('.')[2]  # without its scope
                value = _ALIKE.get(value, value)
            if key != '_scope_':
                yield from _flat(value, f'{name}.{key}' if name else str(key))
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from _flat(value, f'{name}.{index}')
    elif node is None or isinstance(node, bool | int | float | str):
        yield name, node
    else:
        yield name, getattr(node, '__name__', None) or type(node).__name__


def compare_settings(
    before: dict, now: dict, partial: bool = False
) -> tuple[list, list]:
    """Sort the settings that differ by what a resume does about them.

    Args:
        before: Settings in the checkpoint.
        now: Settings of this run.
        partial: Whether the checkpoint's are from the text of an older config: what it
            does not tell, and schedules, are not compared then.

    Returns:
        Those that make it another experiment, and those that are applied.
    """
    other: list[Difference] = []
    applied: list[Difference] = []
    for name in sorted({*before, *now}):
        pair = Difference(name, before.get(name), now.get(name))
        if _same(pair.before, pair.now) or _matches(name, _FREE):
            continue
        unknown = pair.before is None or name.startswith('param_scheduler')
        if partial and (unknown or pair.now is None):
            continue
        (applied if _matches(name, _APPLIED) else other).append(pair)
    return other, applied


def compare_data(before: dict, now: dict) -> list[Difference]:
    """Tell whether the images are others.

    Args:
        before: ``files`` of a record.
        now: The same of this run.

    Returns:
        Differences that make it another experiment.
    """
    if before['number'] not in (None, now['number']):
        return [
            Difference('number of training images', before['number'], now['number'])
        ]
    if before['digest'] and now['digest'] and before['digest'] != now['digest']:
        found = before['digest'][:12], now['digest'][:12]
        return [Difference('checksum of the list of training images', *found)]
    return []


def shown(items: list) -> str:
    """Write a list in a sentence.

    Args:
        items: Texts or differences.

    Returns:
        The first ones, separated by semicolons.
    """
    more = f'; and {len(items) - 8} more' if len(items) > 8 else ''
    return '; '.join(str(item) for item in items[:8]) + more


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    return one == other


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def _value(value: Any) -> str:
    return 'not set' if value is None else repr(value)
