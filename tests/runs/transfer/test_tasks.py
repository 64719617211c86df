"""Which config belongs to which task and checkpoint."""

from pathlib import Path

import pytest

from dseq_mm.runs.tasks import choose_tasks
from dseq_mm.tables import TASKS
from dseq_mm.transfer.architectures import ARCHITECTURES

NAMES = {
    'knn': 'dseq_{pretraining}',
    'linear': 'linear_{arch}_28e_imagenet',
    'finetune': 'finetune_{arch}_50e_imagenet',
    'inat21': 'linear_{arch}_28e_inat21',
    'cub': 'linear_{arch}_28e_cub',
    'cars': 'linear_{arch}_28e_cars',
    'coco': 'mask-rcnn_{arch}_25e_coco',
    'ade20k': 'upernet_{arch}_160k_ade20k',
    'clevr-count': 'clevr-count_{arch}_100e',
    'clevr-dist': 'clevr-dist_{arch}_100e',
}
TWINS = dict(
    knn='dseq_digitscenes_20e',
    linear='linear_digits_28e',
    finetune='finetune_digits_50e',
    coco='mask-rcnn_digits_25e',
    ade20k='upernet_digits_3k',
) | {f'clevr-{kind}': f'clevr-{kind}_digits_100e' for kind in ('count', 'dist')}


def stems(chosen):
    return {task.name: Path(path).stem for task, path in chosen.items()}


@pytest.mark.parametrize('arch', ARCHITECTURES)
def test_all(make_subject, arch):
    chosen, notes = choose_tasks('all', make_subject(arch=arch))
    words = ARCHITECTURES[arch].pretraining
    expected = {k: v.format(arch=arch, pretraining=words) for k, v in NAMES.items()}
    left_out = []
    if arch == 'digits':
        expected, left_out = TWINS, ['inat21', 'cub', 'cars']
    if arch == 'vits16':
        left_out = [task for task in TASKS if task not in ('knn', 'linear')]
    if arch in ('vith16-448', 'vith14', 'vitg16'):
        left_out = ['coco', 'ade20k']
    assert stems(chosen) == {k: v for k, v in expected.items() if k not in left_out}
    assert [note.split()[2] for note in notes] == left_out
    assert all(Path(path).is_file() for path in chosen.values())


def test_order_is_that_of_the_table(make_subject):
    chosen, _ = choose_tasks('clevr-dist, linear,knn,linear', make_subject())
    assert [task.name for task in chosen] == ['knn', 'linear', 'clevr-dist']


@pytest.mark.parametrize(
    ('facts', 'expected'),
    [
        (dict(method='IJEPA'), 'ijepa_vitb16_600e'),
        (dict(method='IJEPA', class_token=False), 'ijepa_vitb16_600e'),
        (dict(method=None), 'dseq_vitb16_600e'),
        # a method whose name no config has, or not for this network
        (dict(method='MAE'), 'dseq_vitb16_600e'),
        (dict(method='DMTJEPA', class_token=False), 'ijepa_vitb16_600e'),
        (dict(method='MoCoV3', arch='digits'), 'mocov3_digitscenes_20e'),
        (dict(method=None, class_token=False), 'ijepa_vitb16_600e'),
        (dict(arch='vith16-448'), 'dseq_vith16-448_300e'),
    ],
)
def test_knn_takes_the_config_of_the_method(make_subject, facts, expected):
    chosen, _ = choose_tasks('knn', make_subject(**(dict(arch='vitb16') | facts)))
    assert stems(chosen) == dict(knn=expected)


@pytest.mark.parametrize(
    ('arch', 'names', 'message'),
    [
        ('vitb16', 'linear,imagenet', "'imagenet' is no task. Tasks: knn, linear, "),
        ('vitb16', ' , ', 'nothing is no task'),
        (
            'vith16-448',
            'linear,coco,ade20k',
            'coco has no config for ViT-H/16 .*ade20k',
        ),
        ('vith16-448', 'all,coco', 'coco has no config for ViT-H/16'),
        ('digits', 'inat21', 'inat21 has no DigitScenes twin'),
    ],
)
def test_what_cannot_be_done_is_said(make_subject, arch, names, message):
    with pytest.raises(ValueError, match=message):
        choose_tasks(names, make_subject(arch=arch))


def test_metrics():
    keys = {task.name: [m.key for m in task.metrics] for task in TASKS.values()}
    assert keys.pop('knn') == ['knn_last', 'knn_last4']
    assert keys.pop('coco') == ['coco/bbox_mAP', 'coco/segm_mAP']
    assert keys.pop('ade20k') == ['mIoU']
    assert set(map(tuple, keys.values())) == {('accuracy/top1',)}
