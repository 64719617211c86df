"""Metrics as files."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import master_only

from .command import nearest


@master_only
def write_metrics(metrics: dict, path: str | Path) -> None:
    """Print metrics and write them as JSON, in the first process only.

    Args:
        metrics: See :func:`save_metrics`.
        path: See :func:`save_metrics`.
    """
    print(f'{save_metrics(metrics, path)}\nWritten to {path}')


def save_metrics(metrics: dict, path: str | Path) -> str:
    """Write metrics as JSON.

    Args:
        metrics: Name to number, also of NumPy or PyTorch; what is not finite becomes
            null.
        path: File to write; its folder is made.

    Returns:
        What was written.
    """
    plain = {k: _plain(v) for k, v in metrics.items()}
    text = json.dumps(plain, indent=2, allow_nan=False)
    path = Path(path).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f'{path.name}.part')  # whoever sees the file sees all of it
    draft.write_text(text + '\n', encoding='utf-8')
    draft.replace(path)
    return text


def _plain(value):
    """A metric as what JSON knows."""
    value = value.tolist() if hasattr(value, 'tolist') else value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    is_float = isinstance(value, float)
    return None if is_float and not math.isfinite(value) else value


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
