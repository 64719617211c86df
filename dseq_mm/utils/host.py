"""All of MMEngine, MMPretrain and PyTorch that we use and they do not promise to keep.

Each function says what it stands for and has a test, which fails when a release of the
host moves it. No other module reaches for their private names; classes that inherit
from the host's use what they inherit.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset
from mmengine.hooks import CheckpointHook
from mmengine.logging import MMLogger
from mmengine.registry import Registry
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner
from mmengine.runner.checkpoint import CheckpointLoader
from mmengine.visualization import MLflowVisBackend, Visualizer
from torch import Tensor
from torch.distributed.tensor import DTensor

#: Beginnings of metrics of which ``save_best`` knows that more is better.
GREATER_IS_BETTER = tuple(CheckpointHook._default_greater_keys)


def find_bases_by(
    finder: Callable[[str], tuple[str, str | None] | None],
) -> None:
    """Let a function say where an entry of ``_base_`` lies, before mmengine looks.

    Called again, also after a reload of this module, it replaces the former function.

    Args:
        finder: Takes the entry; gives its path and registry scope, or None to leave it
            to mmengine.
    """
    found = Config._get_cfg_path
    host = getattr(found, 'host', found)

    def find(cfg_path: str, filename: str) -> tuple[str, str | None]:
        """Find one entry of ``_base_``."""
        return finder(cfg_path) or host(cfg_path, filename)

    find.host = host  # type: ignore[attr-defined]  # functions take any
    Config._get_cfg_path = staticmethod(find)


def bases_of(path: str) -> list[str]:
    """List the configs that a config is based on.

    Args:
        path: The config.

    Returns:
        Their paths, which may not exist.
    """
    entries = Config._get_base_files(path)
    return [Config._get_cfg_path(entry, path)[0] for entry in entries]


def raw_dict(cfg: Config) -> ConfigDict:
    """Give the dict within a config, which dict's own methods can change.

    Args:
        cfg: The config.

    Returns:
        The dict itself.
    """
    return cfg._cfg_dict


def resumes_from_anywhere(runner: Runner) -> bool:
    """Tell whether a runner is to resume, but was not told from where.

    Args:
        runner: The runner.

    Returns:
        True as long as it has loaded nothing.
    """
    return runner._resume and runner._load_from is None and not runner._has_loaded


def resume_from(runner: Runner, path: str | None) -> None:
    """Tell a runner where to resume from.

    Args:
        runner: The runner, which has loaded nothing.
        path: The checkpoint; None starts anew.
    """
    runner._resume, runner._load_from = path is not None, path


def chosen_seed(runner: Runner) -> int | None:
    """Give the seed that the config has.

    Args:
        runner: The runner.

    Returns:
        The seed; None if the runner drew one.
    """
    return runner._randomness_cfg.get('seed')


def set_seed(runner: Runner, seed: int) -> None:
    """Seed a runner anew, with its other settings of randomness.

    Args:
        runner: The runner.
        seed: The seed.
    """
    # A new dict: the runner's own may be the default that all runners share.
    runner._randomness_cfg = {**runner._randomness_cfg, 'seed': seed}
    runner.set_randomness(**runner._randomness_cfg)


@contextmanager
def runner_loggers(prepare: Callable[[MMLogger], None]) -> Iterator[None]:
    """Let a function change the logger of each runner before the first line.

    Args:
        prepare: Takes the logger, whose handlers are there.

    Yields:
        Nothing; runners that are built within are meant.
    """
    build = Runner.build_logger

    def build_logger(runner: Runner, *args, **kwargs) -> MMLogger:
        """Build a logger; see the host."""
        logger = build(runner, *args, **kwargs)
        prepare(logger)
        return logger

    Runner.build_logger = build_logger
    try:
        yield
    finally:
        Runner.build_logger = build


def has_validation(runner: Runner) -> bool:
    """Tell whether a training validates.

    Args:
        runner: The runner, whose loop is not built by this.

    Returns:
        True if there is a validation loop, or its config.
    """
    return runner._val_loop is not None


def set_val_loop(runner: Runner, loop: BaseLoop) -> None:
    """Exchange the validation loop.

    Args:
        runner: The runner.
        loop: The new one.
    """
    runner._val_loop = loop


def set_runner(loop: BaseLoop, runner: Any) -> None:
    """Let a loop work for another runner.

    Args:
        loop: The loop.
        runner: What has the model and calls the hooks.
    """
    loop._runner = runner


@contextmanager
def epoch_counted(loop: BaseLoop) -> Iterator[None]:
    """Let a loop stand where validation begins: behind the epoch that it ends.

    mmengine names and numbers the best file by it.

    Args:
        loop: The training's; one that counts no epochs is left alone.

    Yields:
        Nothing.
    """
    if not isinstance(loop, EpochBasedTrainLoop):
        yield
        return
    place = {key: vars(loop)[key] for key in ('_epoch', '_seen') if key in vars(loop)}
    loop._epoch += 1
    if '_seen' in place:  # of our own loop: images of the epoch
        loop._seen = 0
    try:
        yield
    finally:
        vars(loop).update(place)


def settle_best(hook: CheckpointHook, name: str) -> None:
    """Let ``save_best='auto'`` mean a metric, as if it had been measured.

    Args:
        hook: The hook.
        name: The metric.

    Raises:
        ValueError: If the hook does not know whether more is better.
    """
    hook._init_rule(hook.rules, [name])


def is_read(dataset: BaseDataset) -> bool:
    """Tell whether a data set has read its annotations.

    Args:
        dataset: The data set.

    Returns:
        False if it is lazy and was not asked yet.
    """
    return dataset._fully_initialized


def read_with_classes(dataset: BaseDataset, classes: Sequence[str]) -> None:
    """Let a data set read its annotations again, with other class names.

    Args:
        dataset: The data set.
        classes: Names by label.
    """
    dataset._metainfo['classes'] = tuple(classes)
    dataset._fully_initialized = False
    dataset.full_init()


def checkpoint_schemes() -> Iterable[str]:
    """List the beginnings of addresses that mmengine reads checkpoints from.

    Returns:
        Beginnings, such as ``'http://'``; the empty one is that of paths.
    """
    return tuple(CheckpointLoader._schemes)


def set_checkpoint_filter(backbone: type, change: Callable) -> None:
    """Let a function change what ``ImageClassifier`` loads, before it looks for keys.

    Args:
        backbone: Class of the classifier's backbone.
        change: Takes the backbone, the state dict, the prefix of the classifier's keys
            and PyTorch's other arguments; changes the state dict.
    """
    backbone._checkpoint_filter = change  # type: ignore[attr-defined]  # a host's


def default_store() -> dist.Store:
    """Give the store that the processes have met at.

    Returns:
        The store of the default process group.
    """
    return dist.distributed_c10d._get_default_store()


def find_also_in(registry: Registry, other: Registry) -> None:
    """Let a registry find in another what it does not have itself.

    It is found under its bare name and under the scope of ``registry``, before what the
    parent of ``registry`` has.

    Args:
        registry: Looks first in itself.
        other: Looked into then; not in its parents.
    """
    look = type(registry).get

    def get(key: str) -> type | None:
        """Find what is registered under a name; see the host."""
        scope, name = registry.split_scope_key(key)
        if scope in (None, registry.scope) and name in other.module_dict:
            registry.import_from_location()
            if name not in registry.module_dict:
                return other.module_dict[name]
        return look(registry, key)

    registry.get = get


def lerp_all(values: list[Tensor], towards: list[Tensor], share: float) -> None:
    """Move tensors towards others, all in few kernels.

    Args:
        values: Changed in place. Of sharded ones (``DTensor``) each process moves its
            own part.
        towards: As many, of the same shapes, and cut up alike.
        share: How far, from 0 to 1.
    """
    values, towards = ([local(x) for x in part] for part in (values, towards))
    torch._foreach_lerp_(values, towards, share)


def local(value: Tensor) -> Tensor:
    """Find the part of a tensor that this process has.

    Args:
        value: Of any kind.

    Returns:
        Of a sharded tensor this process's part, which shares its memory; of others the
        tensor itself.
    """
    return value.to_local() if isinstance(value, DTensor) else value


def whole(value: Tensor) -> Tensor:
    """Bring a tensor together.

    Args:
        value: Of any kind; of a sharded one all processes ask.

    Returns:
        The whole of a sharded tensor; of others the tensor itself.
    """
    return value.full_tensor() if isinstance(value, DTensor) else value


def add_image(visualizer: Visualizer, name: str, image: np.ndarray, step: int) -> None:
    """Send a picture to every backend of a visualizer.

    MMEngine gives MLflow the name as that of a file, without suffix and the same at
    each step: MLflow refuses the one and overwrites the other.

    Args:
        visualizer: The visualizer.
        name: Of the picture.
        image: RGB, ``(h, w, 3)``, uint8.
        step: Epoch or iteration.
    """
    for backend in visualizer._vis_backends.values():
        if isinstance(backend, MLflowVisBackend):
            backend.add_image(f'{name}_{step}.png', image, step)
        else:
            backend.add_image(name, image, step)
