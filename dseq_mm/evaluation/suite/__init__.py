"""One command for the whole table: protocols, resuming, report.

``subject`` reads what the checkpoint is, ``tasks`` finds the configs, ``protocol`` what
they say, ``runs`` what is to be done, ``execute`` does it with the tools, ``report``
writes the table, ``paper`` holds the figures that stand beside it.
"""

from .execute import Tools, check_gpus, execute
from .report import installed_versions, write_table
from .runs import plan_runs
from .subject import Subject, read_subject
from .tasks import TASKS, Task, check_names

__all__ = [
    'TASKS',
    'Subject',
    'Task',
    'Tools',
    'check_gpus',
    'check_names',
    'execute',
    'installed_versions',
    'plan_runs',
    'read_subject',
    'write_table',
]
