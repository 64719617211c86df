"""Our tables as data, and the words that users write theirs in.

``ablations`` has the tables of ``tools/ablate.py``, ``transfer`` the tasks of
``tools/evaluate.py``, ``paper`` the figures that stand beside ours.
"""

from .ablations import BUDGETS, TABLES
from .kinds import Budget, Contrast, Metric, Row, Table, Task
from .transfer import TASKS

__all__ = [
    'BUDGETS',
    'TABLES',
    'TASKS',
    'Budget',
    'Contrast',
    'Metric',
    'Row',
    'Table',
    'Task',
]
