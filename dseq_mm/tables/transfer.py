"""The tasks of the transfer table: which config, which data set, which metrics."""

from .kinds import Metric, Task

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
