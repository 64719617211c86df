"""Metrics as files."""

import json
import math
from pathlib import Path

from mmengine.dist import master_only


@master_only
def write_metrics(metrics: dict, path: str | Path) -> None:
    """Print metrics and write them as JSON, in the first process only.

    Args:
        metrics: Name to number, also of NumPy or PyTorch; what is not finite becomes
            null.
        path: File to write; its folder is made.
    """
    text = json.dumps({k: _plain(v) for k, v in metrics.items()}, indent=2)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f'{path.name}.part')  # whoever sees the file sees all of it
    draft.write_text(text + '\n')
    draft.replace(path)
    print(f'{text}\nWritten to {path}')


def _plain(value):
    """A metric as what JSON knows."""
    value = value.tolist() if hasattr(value, 'tolist') else value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    is_float = isinstance(value, float)
    return None if is_float and not math.isfinite(value) else value
