"""Metrics as files."""

import json
import math
from pathlib import Path

from mmengine.dist import master_only


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
