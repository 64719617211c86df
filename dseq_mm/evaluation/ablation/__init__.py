"""Studies over several configs and seeds.

``tables`` names them and what the paper reports, ``trials`` finds what is to be done,
``study`` trains and measures with the tools, ``report`` writes the tables.
"""

from .report import write_tables
from .study import Study, check_devices
from .tables import BUDGETS, TABLES, Budget, Contrast, Row, Table
from .trials import check_data, plan_trials

__all__ = [
    'BUDGETS',
    'TABLES',
    'Budget',
    'Contrast',
    'Row',
    'Study',
    'Table',
    'check_data',
    'check_devices',
    'plan_trials',
    'write_tables',
]
