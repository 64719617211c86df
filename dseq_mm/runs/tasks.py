"""The tasks of the table: which config, which data set, which metrics."""

from dataclasses import dataclass

from ..transfer.contents import ARCHITECTURES
from ..utils.command import nearest
from ..utils.configs import resolve_config
from .paper import PREFIXES
from .subject import Subject


@dataclass(frozen=True)
class Metric:
    """A number that a task gives.

    Args:
        key: Its name in the metrics file of the tool.
        name: Its name in the table.
        paper: Column of :data:`.paper.FIGURES`, None if the paper has none.
        scale: What it is multiplied by, so that it is in percent.
    """

    key: str
    name: str
    paper: str | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class Task:
    """A row of the table.

    Args:
        name: What the user calls it.
        dataset: Name of the data set.
        metrics: What is reported.
        config: Name of the config, ``{arch}`` for the architecture; or the path of one.
        features: What the head sees, for the description of the protocol.
        check: What tools/check_data.py calls the data, empty if it does not know them.
        twin: Name of the DigitScenes config, None if there is none.
    """

    name: str
    dataset: str
    metrics: tuple[Metric, ...]
    config: str = ''
    features: str = 'features as in the config'
    check: str = ''
    twin: str | None = None


_LAST_FOUR = (
    'average-pooled tokens of the last four blocks, concatenated; batch norm; '
    'linear classifier'
)


def _classify(name, dataset, config, features=_LAST_FOUR, check='', twin=None):
    metrics = (Metric('accuracy/top1', 'top-1 accuracy', name),)
    return Task(name, dataset, metrics, config, features, check or name, twin)


def _clevr(name, dataset):
    features, config = '{token} of the last block; linear classifier', name + '_{arch}'
    return _classify(
        name, dataset, f'{config}_100e', features, 'clevr', f'{name}_digits_100e'
    )


_TASKS = (
    Task(
        'knn',
        'ImageNet-1K',
        (
            Metric('knn_last', 'kNN accuracy, last block'),
            Metric('knn_last4', 'kNN accuracy, last four blocks'),
        ),
        features='average-pooled tokens of the last block, and of the last four, '
        'concatenated',
        check='imagenet',
    ),
    _classify(
        'linear',
        'ImageNet-1K',
        'linear_{arch}_28e_imagenet',
        check='imagenet',
        twin='linear_digits_28e',
    ),
    _classify(
        'finetune',
        'ImageNet-1K',
        'finetune_{arch}_50e_imagenet',
        'average-pooled patch tokens of the last block; linear classifier',
        'imagenet',
        'finetune_digits_50e',
    ),
    _classify('inat21', 'iNaturalist 2021', 'linear_{arch}_28e_inat21'),
    _classify('cub', 'CUB-200-2011', 'linear_{arch}_28e_cub'),
    _classify('cars', 'Stanford Cars', 'linear_{arch}_28e_cars'),
    Task(
        'coco',
        'COCO 2017',
        (
            Metric('coco/bbox_mAP', 'AP box', 'box', 100.0),
            Metric('coco/segm_mAP', 'AP mask', 'mask', 100.0),
        ),
        'mask-rcnn_{arch}_25e_coco',
        'four blocks as a pyramid, FPN; Mask R-CNN',
        'coco',
        'mask-rcnn_digits_25e',
    ),
    Task(
        'ade20k',
        'ADE20K',
        (Metric('mIoU', 'mIoU', 'miou'),),
        'upernet_{arch}_160k_ade20k',
        'four blocks as a pyramid; UPerNet with an auxiliary FCN head',
        'ade20k',
        'upernet_digits_3k',
    ),
    _clevr('clevr-count', 'Clevr/Count'),
    _clevr('clevr-dist', 'Clevr/Dist'),
)
TASKS: dict[str, Task] = {task.name: task for task in _TASKS}


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
        method = PREFIXES.get(subject.method, str(subject.method).lower())
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
    chosen, left_out, problems = {}, [], []
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
