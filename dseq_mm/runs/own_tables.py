"""Tables of the user: a Python file with ``TABLES``, ``BUDGETS`` or ``TASKS``."""

import re
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from ..tables import BUDGETS, TABLES, TASKS
from ..tables.kinds import Budget, Row, Table, Task
from ..utils.command import explain

_KINDS: dict[str, tuple[dict, type]] = dict(
    TABLES=(TABLES, Table), BUDGETS=(BUDGETS, Budget), TASKS=(TASKS, Task)
)
_Item = TypeVar('_Item', Row, Task)


def add_tables(path: str | Path) -> list[str]:
    """Run a file of the user, and add what it defines to what this package knows.

    ``TABLES`` are name to :class:`.Table` for ``tools/ablate.py``, ``BUDGETS`` name to
    :class:`.Budget`, and ``TASKS`` name to :class:`.Task` for ``tools/evaluate.py``.
    Configs named by a path are looked for beside the file first.

    Args:
        path: The file.

    Returns:
        Names of its tables.

    Raises:
        ValueError: There is no such file, it fails, or defines none of these, something
            else under their names, or a name that is taken.
    """
    path = Path(path).expanduser().absolute()
    if not path.is_file():
        raise ValueError(f'--tables {path}: there is no such file')
    try:
        found = runpy.run_path(str(path))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the code of a user runs into
        raise ValueError(f'--tables {path}: {explain(error)}') from error
    if not found.keys() & _KINDS.keys():
        raise ValueError(f'--tables {path}: it defines none of {", ".join(_KINDS)}')
    for kind, (known, wanted) in _KINDS.items():
        for name, value in _entries(path, kind, found.get(kind, {})):
            if not isinstance(value, wanted):
                raise ValueError(
                    f'--tables {path}: {kind}[{name!r}] is no {wanted.__name__} of '
                    'dseq_mm.tables'
                )
            if name in known:
                raise ValueError(f'--tables {path}: the name {name!r} is taken')
            known[name] = _placed(value, path.parent)
    return [*found.get('TABLES', {})]


def _entries(path: Path, kind: str, value: Any) -> list[tuple[str, Any]]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise ValueError(f'--tables {path}: {kind} is a dict of names')
    return [*value.items()]


def _placed(value: Any, folder: Path) -> Any:
    """The same with configs found beside the file."""
    if isinstance(value, Table):
        return replace(value, rows=tuple(_beside(row, folder) for row in value.rows))
    return _beside(value, folder) if isinstance(value, Task) else value


def _beside(value: _Item, folder: Path) -> _Item:
    pattern = re.sub(r'\{\w+\}', '*', value.config)  # for budget or architecture
    if value.config.endswith('.py') and any(folder.glob(pattern)):
        return replace(value, config=str(folder / value.config))
    return value
