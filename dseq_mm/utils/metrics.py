"""Metrics: what was measured, written and looked for."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import master_only

from .command import nearest
from .files import write_json


@master_only
def write_metrics(metrics: dict, path: str | Path) -> None:
    """Print metrics and write them as JSON, in the first process only.

    Args:
        metrics: Name to number; see :func:`~dseq_mm.utils.files.write_json`.
        path: File to write; its folder is made.
    """
    print(f'{write_json(path, metrics)}\nWritten to {path}')


def missing_best(keys: Iterable[str], metrics: Mapping[str, Any]) -> str:
    """Tell which metric of ``save_best`` was not measured; that costs no epoch.

    Args:
        keys: Names that ``save_best`` has, or 'auto'.
        metrics: What the validation measured, by name.

    Returns:
        A warning; empty if all were.
    """
    missing = next((key for key in keys if key not in (*metrics, 'auto')), None)
    if missing is None:
        return ''
    near = nearest(missing, metrics, 0.3)
    meant = f'; did you mean {near!r}?' if near else '.'
    return (
        f'save_best={missing!r} is not among what the validation measures '
        f'({", ".join(metrics) or "nothing"}){meant} No best checkpoint is kept; the '
        'regular ones are.'
    )
