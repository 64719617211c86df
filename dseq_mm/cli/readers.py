"""What reads the dicts of a config that have no ``type``."""

import inspect
import re
from typing import Any

import mmengine.runner as loops
from mmengine.hooks import Hook
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.runner import LogProcessor, Runner
from mmengine.visualization import Visualizer
from torch import nn
from torch.nn.utils import clip_grad_norm_

from ..evaluation.features import LOADER
from ..regions import RegionRule
from ..utils.arguments import (
    RESERVED,
    Arguments,
    arguments_of,
    find_types,
    issubclass_of,
)

MMENGINE_HOOKS = (
    'runtime_info',
    'timer',
    'sampler_seed',
    'logger',
    'param_scheduler',
    'checkpoint',
)
#: What the runner, mmengine or a library's tools take from the top of a config.
TOP_LEVEL = (arguments_of(Runner).names.keys() - {'cfg'}) | {
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
}
#: What a group of parameters may be given.
GROUP = {'lr_mult', 'decay_mult'}
_PARAMWISE = re.compile(r"""paramwise_cfg(?:\.get\(|\.pop\(|\[)\s*['"](\w+)""")
_ARCH = {'embed_dims', 'num_layers', 'num_heads', 'feedforward_channels'}
_BACKBONE = r'(model|model\.backbone)'
#: Dotted place of a dict without type to its names, or to the class that gets them.
_READERS: tuple[tuple[str, Any], ...] = (
    (r'(train|val|test)_dataloader', LOADER),
    (r'custom_hooks\.\d+\.(bank|query)', LOADER),
    ('train_cfg', (loops.EpochBasedTrainLoop, loops.IterBasedTrainLoop, {'by_epoch'})),
    ('val_cfg', (loops.ValLoop,)),
    ('test_cfg', (loops.TestLoop,)),
    ('auto_scale_lr', {'base_batch_size', 'enable'}),
    ('randomness', {'seed', 'diff_rank_seed', 'deterministic'}),
    ('env_cfg', {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'}),
    (r'env_cfg\.mp_cfg', {'mp_start_method', 'opencv_num_threads'}),
    ('log_processor', (LogProcessor,)),
    ('visualizer', (Visualizer,)),
    ('default_hooks', set(MMENGINE_HOOKS)),
    (r'optim_wrapper\.clip_grad', (clip_grad_norm_, {'type'})),
    (r'optim_wrapper\.paramwise_cfg\.custom_keys\.[^.]+', GROUP),
    (r'model\.target_encoder', ('dseq_mm.TargetEncoder',)),
    (r'model\.mask_generator\.rule', (RegionRule,)),
    (r'model\.mask_generator\.curriculum', {'start', 'end', 'unit'}),
    (_BACKBONE + r'\.arch', _ARCH),
)
#: Last part of dicts that take whatever names the user has.
_FREE = re.compile(r'(custom_keys|metainfo|data_prefix|backend_args|meta_keys|hparams)')


def reader_of(place: str, node: dict, scope: str | None) -> Arguments:
    """Find out which names a dict of a config may have.

    Args:
        place: Its dotted key; empty for the config itself.
        node: The dict, as it is.
        scope: Default scope of the config.

    Returns:
        The names, and whether there are no others.
    """
    if not place:
        return _join([TOP_LEVEL])
    if kind := node.get('type'):
        kinds = find_types(kind, scope)
        if not kinds:
            return Arguments(dict.fromkeys(node), complete=False)
        return _join([*kinds, *(_taken_before(kind) for kind in kinds)])
    if place == 'optim_wrapper':
        return _join([OptimWrapper, _taken_before(OptimWrapper)])
    if place == 'optim_wrapper.paramwise_cfg':
        names = paramwise_names(DefaultOptimWrapperConstructor)
        return Arguments(dict.fromkeys(names), complete=False)
    for pattern, reader in _READERS:
        if re.fullmatch(pattern, place):
            return _join([reader] if isinstance(reader, set) else list(reader))
    if _FREE.fullmatch(place.rpartition('.')[2]):
        return Arguments({}, complete=False)
    return Arguments(dict.fromkeys(node), complete=False)


def paramwise_names(constructor: type) -> set[str]:
    """Find what a constructor of optimizers takes out of ``paramwise_cfg``.

    Args:
        constructor: Its class.

    Returns:
        The names in its code and in that of its parents.
    """
    own = [kind for kind in constructor.__mro__ if kind is not object]
    return {
        name for kind in own for name in _PARAMWISE.findall(inspect.getsource(kind))
    }


def is_free(place: str) -> bool:
    """Tell whether a dict takes any names, with nothing to compare them to.

    Args:
        place: Its dotted key.

    Returns:
        True if it does.
    """
    return bool(_FREE.fullmatch(place.rpartition('.')[2]))


def _join(readers: list) -> Arguments:
    """All names of some readers: classes, registered names or sets of names."""
    names: dict[str, Any] = {}
    complete = True
    for reader in readers:
        if isinstance(reader, set | frozenset):
            names |= dict.fromkeys(reader)
            continue
        for kind in find_types(reader):
            found = arguments_of(kind)
            names, complete = names | found.names, complete and found.complete
    return Arguments(names, complete)


def _taken_before(kind: Any) -> set[str]:
    """Names that mmengine takes out of a dict with a type before the class gets it."""
    names = set(RESERVED)
    if issubclass_of(kind, OptimWrapper):
        names |= {'constructor', 'paramwise_cfg'}
    if issubclass_of(kind, nn.Module):  # norms, by mmcv's build_norm_layer
        names |= {'requires_grad'}
    if hasattr(kind, 'build_iter_from_epoch'):  # parameter schedulers
        names |= {'convert_to_iter_based'}
    if hasattr(kind, '_get_init_info'):  # initializers
        names |= {'override'}
    if issubclass_of(kind, Hook):
        names |= {'priority'}
    return names
