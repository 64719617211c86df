"""Studies over several configs and seeds.

``tables`` names them and what the paper reports, ``study`` trains and measures with the
tools, ``report`` writes the tables.
"""

from .report import write_tables
from .study import Study, plan_trials
from .tables import BUDGETS, TABLES, VARIABLE, Budget, Contrast, Row, Table

__all__ = [
    'BUDGETS',
    'TABLES',
    'VARIABLE',
    'Budget',
    'Contrast',
    'Row',
    'Study',
    'Table',
    'plan_trials',
    'write_tables',
]
