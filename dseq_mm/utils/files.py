"""Text and JSON on disk: whole at any time, and plain."""

import json
import math
import os
from pathlib import Path
from typing import Any


def write_text(path: str | Path, text: str) -> None:
    """Write a file so that whoever sees it sees all of it.

    Args:
        path: The file; its folder is made.
        text: What goes in.
    """
    path = Path(path).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f'.{path.name}.{os.getpid()}')
    draft.write_text(text, encoding='utf-8')
    os.replace(draft, path)


def write_json(path: str | Path, facts: dict, indent: int | None = 2) -> str:
    """Write facts as JSON, whole at any time.

    Args:
        path: The file; its folder is made.
        facts: Also with values of NumPy or PyTorch; a number that is not finite becomes
            null.
        indent: Spaces for each level; None writes one line.

    Returns:
        What was written, without the last line break.
    """
    try:
        text = json.dumps(facts, indent=indent, allow_nan=False)
    except (TypeError, ValueError):
        text = json.dumps(_plain(facts), indent=indent, allow_nan=False)
    write_text(path, text + '\n')
    return text


def read_json(path: str | Path) -> dict:
    """Read a file of facts.

    Args:
        path: The file.

    Returns:
        What it holds.

    Raises:
        ValueError: It is damaged.
        OSError: It cannot be read.
    """
    try:
        found = json.loads(Path(path).read_text(encoding='utf-8'))
        if not isinstance(found, dict):
            raise ValueError(f'a {type(found).__name__} and no object')
    except ValueError as error:
        raise ValueError(f'{path} is damaged ({error})') from error
    return found


def _plain(value: Any) -> Any:
    """What JSON knows, for a value that it may not know."""
    value = value.tolist() if hasattr(value, 'tolist') else value
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    is_float = isinstance(value, float)
    return None if is_float and not math.isfinite(value) else value
