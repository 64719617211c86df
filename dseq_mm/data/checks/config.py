"""The checks of `DataHook` for all data sets of a config, without a model."""

from collections.abc import Callable
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS

from ...utils.command import explain
from ...utils.configs import bare_type
from ..classes import class_names
from . import Findings, agree_on_classes, check_data_set, check_files, head_classes


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
    pairs = [('val', 'train'), ('test', 'train'), ('kNN query', 'kNN bank')]
    for name, other in pairs:
        if {name, other} <= built.keys():
            try:
                note = agree_on_classes(
                    class_names(built[other]), built[name], f'{name} against {other}'
                )
                found.warnings += [note] if note else []
            except ValueError as error:
                found.errors.append(explain(error))
    for name, dataset in built.items():
        own = {} if name.startswith('kNN') else heads
        try:
            found.add(check_data_set(dataset, own), name)
        except Exception as error:  # files that nobody thought of
            found.errors.append(f'{name}: the check stopped: {explain(error)}')
    for mark, lines in (
        ('ok', found.notes),
        ('warning', found.warnings),
        ('PROBLEM', found.errors),
    ):
        for line in dict.fromkeys(lines):
            echo(f'{mark:9}{line}')
    return len(found.errors)


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
