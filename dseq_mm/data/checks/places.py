"""Where the data of a config lie, looked at without building a data set."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ...utils.files import read_json
from ..digit_files import MANIFEST


def missing_folders(loaders: Sequence[dict]) -> list[str]:
    """Look for the folders of data sets.

    Args:
        loaders: Configs of dataloaders.

    Returns:
        The data folders that do not exist.
    """
    return [root for root in _data_roots(loaders) if not Path(root).is_dir()]


def _data_roots(loaders: Sequence[dict]) -> list[str]:
    roots = {
        str(root).rstrip('/')
        for loader in loaders
        for root in values_of(loader, 'data_root')
    }
    return sorted(root for root in roots if root and '://' not in root)


def check_annotations(cfg: Config, name: str) -> None:
    """Make sure that results are scored against the annotations of their images.

    Args:
        cfg: Config of a task that trains.
        name: Of the task, for the options that the error names.

    Raises:
        ValueError: An evaluator's file of annotations does not exist or lies outside
            the data root of its loader.
    """
    for split in ('val', 'test'):
        loader = cfg.get(f'{split}_dataloader') or {}
        roots = [Path(root) for root in values_of(loader, 'data_root')]
        lists = [str(found) for found in values_of(loader, 'ann_file')]
        option = f'{name}.{split}_evaluator.ann_file'
        for file in values_of(cfg.get(f'{split}_evaluator'), 'ann_file'):
            path = Path(os.path.abspath(file))
            if '://' in str(file):
                continue
            inside = [os.path.abspath(root) for root in roots]
            if roots and not any(path.is_relative_to(root) for root in inside):
                right = roots[0] / (lists[0] if lists else path.name)
                raise ValueError(
                    f'the {split} images lie in {roots[0]}, but would be scored '
                    f'against {file}. Add {option}={right} to --cfg-options.'
                )
            if not path.is_file():
                raise ValueError(
                    f'there is no file of annotations {file} (seen from {Path.cwd()}). '
                    f'Put it there, or set {option} by --cfg-options.'
                )


def data_builds(loaders: Sequence[dict]) -> dict[str, dict | None]:
    """Find out which data are used.

    Args:
        loaders: Configs of dataloaders.

    Returns:
        Absolute path of each data root to the parameters and the checksum of the
        DigitScenes build that it belongs to; None for another data set.
    """
    return {
        os.path.abspath(root): _build_of(Path(root)) for root in _data_roots(loaders)
    }


def _build_of(root: Path) -> dict | None:
    for folder in (root, root.parent):  # the scenes lie one folder below
        if (folder / MANIFEST).is_file():
            return read_json(folder / MANIFEST)
    return None


def values_of(node: Any, key: str) -> Iterator:
    """Find all values of a key, at any depth.

    Args:
        node: A config or a part of it.
        key: The key.

    Yields:
        The values that are not None.
    """
    if isinstance(node, dict):
        for name, value in node.items():
            if name == key and value is not None:
                yield value
            yield from values_of(value, key)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from values_of(value, key)
