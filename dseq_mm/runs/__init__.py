"""Many runs by one command: transfer tables of a checkpoint, studies of ablations.

``job`` says what a run is and what its folder holds, ``engine`` carries runs out,
``table`` writes the numbers of several. Two planners stand on them: ``transfer``
evaluates a checkpoint (``subject``) on ``tasks`` by the ``protocol`` of their configs,
``study`` trains the configs of named tables. ``own_tables`` takes tables of the user.
"""

from .engine import Engine
from .job import Job, Step
from .own_tables import add_tables
from .study import Study, plan_study
from .subject import Subject, read_subject
from .transfer import Plan, plan_transfer

__all__ = [
    'Engine',
    'Job',
    'Plan',
    'Step',
    'Study',
    'Subject',
    'add_tables',
    'plan_study',
    'plan_transfer',
    'read_subject',
]
