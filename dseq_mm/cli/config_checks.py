"""The checks of `DataHook` for all data sets of a config, without a model."""

import copy
from collections.abc import Callable, Set
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope

from ..data.checks import (
    Findings,
    agree_on_classes,
    check_data_set,
    check_evaluator,
    check_files,
    head_classes,
)
from ..data.classes import class_names
from ..evaluation.knn_data import open_knn_data
from ..registry import DATASETS, EVALUATORS
from ..utils.command import explain
from ..utils.configs import bare_type


def check_config(cfg: Config, echo: Callable[[str], Any] = print) -> int:
    """Build the data sets of a config and check them.

    Args:
        cfg: The config, with `train_dataloader` and maybe others.
        echo: Called with each line.

    Returns:
        Number of problems.

    Raises:
        ValueError: The config has no data set.
    """
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    configs = _data_sets(cfg)
    if not configs:
        raise ValueError('the config has no data set: it needs a train_dataloader')
    heads = head_classes(cfg.get('model') or {})
    found, built = Findings(), {}
    for name, config in configs.items():
        try:
            built[name] = DATASETS.build(config)
        except Exception as error:  # whatever a reader raises on bad files
            found.add(explain_unbuilt(config, error), name)
    compared = _agree(built, found)
    for name, dataset in built.items():
        own = {} if name.startswith('kNN') else heads
        try:
            found.add(check_data_set(dataset, own, name in compared), name)
            if config := cfg.get(f'{name}_evaluator'):
                evaluator = _build_evaluator(config)
                found.add(check_evaluator(dataset, evaluator, config, name), name)
        except Exception as error:  # files that nobody thought of
            found.errors.append(f'{name}: the check stopped: {explain(error)}')
    _check_knn(cfg, configs.keys() - built.keys(), found)
    for mark, lines in (
        ('ok', found.notes),
        ('warning', found.warnings),
        ('PROBLEM', found.errors),
    ):
        for line in dict.fromkeys(lines):
            echo(f'{mark:9}{line}')
    return len(found.errors)


def _agree(built: dict[str, Any], found: Findings) -> set[str]:
    """Compare classes with those of the training; names of what was compared."""
    compared = set()
    for name in ('val', 'test'):
        if not {name, 'train'} <= built.keys():
            continue
        try:
            wanted = class_names(built['train'])
            note = agree_on_classes(wanted, built[name], f'{name} against train')
            found.warnings += [note] if note else []
            if wanted is None or class_names(built[name]) is None:
                continue
        except ValueError as error:
            found.errors.append(explain(error))
        compared.add(name)
    return compared


def _build_evaluator(config: Any) -> Evaluator:
    """An evaluator as the runner builds it."""
    if isinstance(config, dict) and 'metrics' in config:
        return EVALUATORS.build(ConfigDict(dict(type='Evaluator') | config))
    return Evaluator(copy.deepcopy(config))


def _check_knn(cfg: Config, unbuilt: Set[str], found: Findings) -> None:
    """What `KNNHook` refuses before the first epoch, without a model."""
    if any(name.startswith('kNN') for name in unbuilt):
        return  # that is told already
    for hook in cfg.get('custom_hooks') or []:
        if bare_type(hook) != 'KNNHook':
            continue
        settings = {
            key: hook[key]
            for key in ('bank', 'query', 'bank_fraction', 'k')
            if key in hook
        }
        try:
            found.notes += open_knn_data(
                **{'bank': None, 'query': None} | settings
            ).notes
        except Exception as error:  # whatever a reader raises on bad files
            found.errors.append(explain(error))


def _data_sets(cfg: Config) -> dict[str, ConfigDict]:
    """Configs of the data sets by name."""
    found = {}
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if loader and loader.get('dataset'):
            found[split] = loader.dataset
    for hook in cfg.get('custom_hooks') or []:
        if bare_type(hook) == 'KNNHook':
            for part in ('bank', 'query'):
                if hook.get(part):
                    found[f'kNN {part}'] = hook[part].dataset
    return found


def explain_unbuilt(config: ConfigDict, error: Exception) -> Findings:
    """Say why a data set cannot be built: by its files, if those tell it.

    Args:
        config: Of the data set.
        error: What building it raised.

    Returns:
        At least one error.
    """
    while 'dataset' in config:
        config = config.dataset
    found = Findings()
    try:
        found = check_files(DATASETS.build(ConfigDict(config, lazy_init=True)))
    except Exception:  # then the first error is all there is
        pass
    if not found.errors:
        found.errors = [f'it cannot be built: {explain(error)}']
    return found
