"""Finding the tasks that are asked for, and their configs."""

from ..tables import TASKS
from ..tables.kinds import Task
from ..tables.paper import PREFIXES
from ..transfer.architectures import ARCHITECTURES
from ..utils.command import nearest
from ..utils.configs import resolve_config
from .subject import Subject


def find_config(task: Task, subject: Subject) -> str:
    """Find the config of a task for the architecture of a checkpoint.

    kNN takes a pre-training config, of which it uses images, settings and network: the
    one named after the checkpoint's method, such as ``ijepa_*``. Where there is none,
    the class token decides: the configs differ in nothing else that is used.

    Args:
        task: The task.
        subject: The checkpoint.

    Returns:
        Path of the config.

    Raises:
        ValueError: There is none.
    """
    if task.name == 'knn':
        pretraining = ARCHITECTURES[subject.arch].pretraining
        method = PREFIXES.get(str(subject.method), str(subject.method).lower())
        try:
            return resolve_config(f'{method}_{pretraining}')
        except ValueError:
            prefix = 'dseq' if subject.class_token else 'ijepa'
            return resolve_config(f'{prefix}_{pretraining}')
    words = ARCHITECTURES[subject.arch].words
    if task.config.endswith('.py'):
        return resolve_config(task.config.format(arch=subject.arch))
    name = task.twin if subject.arch == 'digits' else task.config
    if name is None:
        raise ValueError(f'{task.name} has no DigitScenes twin, so none for {words}')
    try:
        return resolve_config(f'transfer/{name.format(arch=subject.arch)}')
    except ValueError:
        raise ValueError(f'{task.name} has no config for {words}') from None


def check_names(names: str) -> list[str]:
    """Read names of tasks.

    Args:
        names: Names separated by commas.

    Returns:
        The names.

    Raises:
        ValueError: There is no such task.
    """
    asked = [name.strip() for name in names.split(',') if name.strip()]
    unknown = [name for name in asked if name not in TASKS and name != 'all']
    if not asked or unknown:
        near = nearest(unknown[0], TASKS) if unknown else ''
        meant = f'; did you mean {near!r}?' if near else '.'
        raise ValueError(
            f'--tasks {names}: {", ".join(map(repr, unknown)) or "nothing"} is no '
            f'task{meant} Tasks: {", ".join(TASKS)}; or all.'
        )
    return asked


def choose_tasks(names: str, subject: Subject) -> tuple[dict[Task, str], list[str]]:
    """Find the tasks that the user asks for.

    Args:
        names: Names separated by commas; ``all`` for every task that has a config for
            the checkpoint's architecture.
        subject: The checkpoint.

    Returns:
        Each task with the path of its config, in the order of the table; and lines
        that say which tasks ``all`` leaves out, and why.

    Raises:
        ValueError: There is no such task, or it has no config for the architecture.
    """
    asked = check_names(names)
    chosen = {}
    left_out: list[str] = []
    problems: list[str] = []
    for task in TASKS.values():
        if task.name not in asked and 'all' not in asked:
            continue
        try:
            chosen[task] = find_config(task, subject)
        except ValueError as error:
            (problems if task.name in asked else left_out).append(str(error))
    if problems:
        raise ValueError('; '.join(problems) + '. Take it out of --tasks.')
    return chosen, [f'Left out: {reason}.' for reason in left_out]
