"""Every shipped transfer config builds, is the paper's protocol, and has its twin."""

import re
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS, DefaultScope

import dseq_mm  # noqa: F401
from dseq_mm.engine.schedules import apply_schedules
from dseq_mm.models import DenseViT
from tests.libraries import need

FOLDER = Path(__file__).parents[1] / 'configs' / 'transfer'
CONFIGS = sorted(FOLDER.glob('*.py'))
DEPTHS = {
    'vitb16': (12, 768),
    'vitl16': (24, 1024),
    'vith16-448': (32, 1280),
    'vith14': (32, 1280),
    'vitg16': (40, 1408),
}
KINDS = dict(
    linear='linear_{}_28e_imagenet',
    finetune='finetune_{}_50e_imagenet',
    inat21='linear_{}_28e_inat21',
    cub='linear_{}_28e_cub',
    cars='linear_{}_28e_cars',
    count='clevr-count_{}_100e',
    dist='clevr-dist_{}_100e',
    coco='mask-rcnn_{}_25e_coco',
    ade20k='upernet_{}_160k_ade20k',
)
SMALL = KINDS['linear'].format('vits16')  # ours
TWINS = dict(
    linear='linear_digits_28e',
    finetune='finetune_digits_50e',
    count='clevr-count_digits_100e',
    dist='clevr-dist_digits_100e',
    coco='mask-rcnn_digits_25e',
    ade20k='upernet_digits_3k',
)
# What a twin may have of its own: sizes, data, and how long it takes.
SIZES = {
    *('arch', 'img_size', 'patch_size', 'init_std', 'patch_init_std', 'out_indices'),
    *('window_size', 'global_blocks', 'embed_dim', 'rescales', 'in_channels'),
    *('out_channels', 'feat_channels', 'strides', 'scales', 'featmap_strides'),
    *('fc_out_channels', 'conv_out_channels', 'num_classes', 'num', 'nms_pre'),
    *('max_per_img', 'input_features', 'channels', 'crop_size', 'stride', 'size'),
    *('scale', 'batch_size', 'num_workers', 'persistent_workers', 'digits_vit'),
    *('finest_scale', 'base_batch_size'),
}
DATA = {
    *('data_root', 'data_prefix', 'ann_file', 'metainfo', 'img_suffix', 'split'),
    *('reduce_zero_label', 'type', 'prob'),
}
WHOLE = {'arch', 'digits_vit', 'data_prefix', 'metainfo'}  # with all that they hold
TIME = {'begin', 'end', 'max_iters', 'val_interval', 'interval'}


@lru_cache
def load(name):
    return Config.fromfile(FOLDER / f'{name}.py')


# What else a twin has of its own, and its file says why.
OWN = dict(
    coco=[('optim_wrapper', 'optimizer', 'lr'), ('model', 'backbone', 'dtype')],
    ade20k=[
        ('optim_wrapper', 'optimizer', 'lr'),
        ('model', 'decode_head', 'loss_decode', 'class_weight'),
        ('model', 'auxiliary_head', 'loss_decode', 'class_weight'),
    ],
)


def names():
    dense = [
        KINDS[kind].format(arch)
        for kind in ('coco', 'ade20k')
        for arch in ('vitb16', 'vitl16')
    ]
    others = KINDS.keys() - {'coco', 'ade20k'}
    return {
        SMALL,
        *dense,
        *(KINDS[kind].format(arch) for kind in others for arch in DEPTHS),
        *TWINS.values(),
    }


def test_all_promised_configs_are_there_and_no_other():
    assert {path.stem for path in CONFIGS} == names()


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_config_builds(path):
    cfg = load(path.stem)
    scope = cfg.default_scope
    need(scope)
    with DefaultScope.overwrite_default_scope(scope), torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert type(model.backbone) is DenseViT
    assert model.backbone.init_cfg['type'] == 'StrictPretrained'
    frozen = 'linear' in path.stem or 'clevr' in path.stem
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert frozen != any(n.startswith('backbone.') for n in trained)
    assert any(not n.startswith('backbone.') for n in trained)
    arch = path.stem.split('_')[1]
    depth, width = (DEPTHS | dict(vits16=(12, 384))).get(arch, (4, 96))
    assert (model.backbone.num_layers, model.backbone.embed_dims) == (depth, width)
    assert 'dseq_mm' in cfg.custom_imports.imports


def test_mask_rcnn_is_the_papers_protocol():
    cfg = load('mask-rcnn_vitb16_25e_coco')
    backbone, optimizer = cfg.model.backbone, cfg.optim_wrapper.optimizer
    assert list(backbone.out_indices) == [3, 5, 7, 11]
    assert (backbone.window_size, backbone.drop_path_rate) == (14, 0.1)
    assert backbone.dtype == 'bfloat16'
    assert 'global_blocks' not in backbone  # hence those of out_indices
    assert cfg.model.neck[1].out_channels == 256
    assert cfg.model.rpn_head.anchor_generator.strides == [4, 8, 16, 32, 64]
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == (
        'AdamW',
        1e-4,
        0.1,
    )
    warm_up, cosine = cfg.param_scheduler
    assert (warm_up.end * 25, 'begin' in cosine, 'end' in cosine) == (1, False, False)
    assert cfg.train_cfg.max_epochs == 25
    assert cfg.train_dataloader.batch_size * 8 == 16
    assert cfg.auto_scale_lr.base_batch_size == 16
    for pipeline in (
        cfg.train_dataloader.dataset.pipeline,
        cfg.val_dataloader.dataset.pipeline,
        cfg.test_dataloader.dataset.pipeline,
    ):
        resize = next(step for step in pipeline if step.type == 'Resize')
        assert tuple(resize.scale) == (1024, 1024) and resize.keep_ratio
    assert cfg.val_evaluator.metric == ['bbox', 'segm']


def test_upernet_is_the_papers_protocol():
    cfg = load('upernet_vitb16_160k_ade20k')
    optimizer = cfg.optim_wrapper.optimizer
    assert list(cfg.model.backbone.out_indices) == [3, 5, 7, 11]
    assert cfg.model.backbone.drop_path_rate == 0.1
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == (
        'AdamW',
        1e-4,
        0.05,
    )
    warm_up, poly = cfg.param_scheduler
    assert (warm_up.end, poly.power, 'begin' in poly, 'end' in poly) == (1500, 1, 0, 0)
    assert not warm_up.by_epoch and not poly.by_epoch
    assert cfg.train_cfg.max_iters == 160000
    assert cfg.train_dataloader.batch_size * 8 == 16
    assert cfg.model.test_cfg == dict(
        mode='slide', crop_size=(512, 512), stride=(341, 341)
    )
    train = cfg.train_dataloader.dataset.pipeline
    assert (tuple(train[2].scale), tuple(train[2].ratio_range)) == (
        (2048, 512),
        (0.5, 2.0),
    )
    assert tuple(train[3].crop_size) == tuple(cfg.model.data_preprocessor.size)
    head = cfg.model.auxiliary_head
    assert (head.in_index, head.loss_decode.loss_weight, head.type) == (
        2,
        0.4,
        'FCNHead',
    )
    assert cfg.model.decode_head.num_classes == head.num_classes == 150


@pytest.mark.parametrize('kind', ['linear', 'inat21', 'cub', 'cars'])
@pytest.mark.parametrize('arch', DEPTHS)
def test_linear_probe_is_the_papers_protocol(kind, arch):
    cfg = load(KINDS[kind].format(arch))
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer == dict(
        type='SGD', lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    assert cfg.auto_scale_lr.base_batch_size == 256
    assert cfg.train_dataloader.batch_size == 32
    milestones = [28 * share for share in cfg.param_scheduler.milestones]
    assert milestones == pytest.approx([8, 16, 24])
    assert cfg.train_cfg.max_epochs == 28
    backbone = cfg.model.backbone
    assert backbone.frozen and backbone.norm_all
    assert backbone.out_indices == [-4, -3, -2, -1]
    classes = dict(linear=1000, inat21=10000, cub=200, cars=196)[kind]
    assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes == classes
    assert cfg.model.head.in_channels == 4 * DEPTHS[arch][1]
    pixels = 448 if 'h16' in arch else 224
    train = cfg.train_dataloader.dataset
    steps = [step.type for step in train.pipeline]
    assert steps == [
        'LoadImage',
        'ResizeEdge',
        'RandomResizedCrop',
        'PackInputs',
    ]
    assert train.pipeline[2].scale == pixels == backbone.img_size
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.pipeline[2].crop_size == pixels
        assert loader.dataset.data_root == train.data_root
        own = [loader.dataset.get(key) for key in ('split', 'data_prefix')]
        assert own != [train.get(key) for key in ('split', 'data_prefix')]


def test_small_linear_probe_is_that_of_vit_b():
    base = load(KINDS['linear'].format('vitb16')).to_dict()
    changes = set(differences(base, load(SMALL).to_dict()))
    assert changes == {
        ('model', 'backbone', 'arch'),
        ('model', 'neck', 1, 'input_features'),
        ('model', 'head', 'in_channels'),
    }
    assert load(SMALL).model.head.in_channels == 4 * 384


@pytest.mark.parametrize('arch', DEPTHS)
def test_clevr_is_the_papers_protocol(arch):
    for kind, classes in (('count', 8), ('dist', 6)):
        cfg = load(KINDS[kind].format(arch))
        optimizer = cfg.optim_wrapper.optimizer
        assert optimizer == dict(type='AdamW', lr=1e-3, weight_decay=0.05)
        assert cfg.train_cfg.max_epochs == 100 and 'T_max' not in cfg.param_scheduler
        assert cfg.train_dataloader.batch_size == 256
        assert cfg.model.backbone.out_type == 'cls_token' and cfg.model.backbone.frozen
        assert (
            cfg.model.head.num_classes == cfg.data_preprocessor.num_classes == classes
        )
        pixels = 448 if 'h16' in arch else 224
        for split in ('train', 'val', 'test'):
            dataset = cfg[f'{split}_dataloader'].dataset
            assert dataset.split == split
            assert dataset.task == dict(count='count', dist='distance')[kind]
            assert dataset.pipeline[1].scale == (pixels, pixels)


@pytest.mark.parametrize('arch', DEPTHS)
def test_fine_tuning_is_maes_recipe(arch):
    cfg = load(KINDS['finetune'].format(arch))
    rate, decay, drop = dict(
        vitb16=(1e-3, 0.65, 0.1),
        vitl16=(2e-3, 0.75, 0.2),
        vith14=(2e-3, 0.75, 0.3),
        vitg16=(2e-3, 0.75, 0.3),
        **{'vith16-448': (2e-3, 0.75, 0.3)},
    )[arch]
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == (
        'AdamW',
        rate,
        0.05,
    )
    assert cfg.optim_wrapper.paramwise_cfg.layer_decay_rate == decay
    assert cfg.model.backbone.drop_path_rate == drop
    assert cfg.train_cfg.max_epochs == 50
    assert (
        cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 512
    )
    augments = {a.type: a.alpha for a in cfg.model.train_cfg.augments}
    assert augments == dict(Mixup=0.8, CutMix=1.0)
    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    assert (
        steps['RandAugment'].magnitude_level,
        steps['RandAugment'].num_policies,
    ) == (9, 2)
    assert steps['RandAugment'].magnitude_std == 0.5
    pixels = 448 if 'h16' in arch else 224
    assert steps['RandomResizedCrop'].scale == cfg.model.backbone.img_size == pixels


@pytest.mark.parametrize('arch', ['digits', *DEPTHS])
def test_no_layer_ends_with_more_than_it_started(arch):
    name = TWINS['finetune'] if arch == 'digits' else KINDS['finetune'].format(arch)
    cfg = load(name)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    starts = [group['lr'] for group in wrapper.optimizer.param_groups]
    schedules = [
        PARAM_SCHEDULERS.build(scheduler, default_args=dict(optimizer=wrapper))
        for scheduler in cfg.param_scheduler
    ]
    apply_schedules(schedules, 1.0, 50, 100)
    left = [
        group['lr'] / start
        for group, start in zip(wrapper.optimizer.param_groups, starts, strict=True)
    ]
    assert left == pytest.approx([left[0]] * len(left))
    assert left[0] * cfg.optim_wrapper.optimizer.lr == pytest.approx(1e-6)


def test_vit_large_has_our_blocks_and_drop_path():
    for kind in ('coco', 'ade20k'):
        cfg = load(KINDS[kind].format('vitl16'))
        assert list(cfg.model.backbone.out_indices) == [7, 11, 15, 23]
        assert cfg.model.backbone.drop_path_rate == 0.2
        assert 'ours' in (FOLDER / f'{KINDS[kind].format("vitl16")}.py').read_text()


def differences(one, two, path=()):
    """Paths of the settings that differ."""
    if isinstance(one, dict) and isinstance(two, dict):
        for key in one.keys() | two.keys():
            yield from differences(one.get(key), two.get(key), (*path, key))
    elif (
        isinstance(one, list)
        and isinstance(two, list)
        and len(one) == len(two)
        and any(isinstance(item, dict) for item in one)
    ):
        for index, pair in enumerate(zip(one, two, strict=True)):
            yield from differences(*pair, (*path, index))
    elif one != two:
        yield path


@pytest.mark.parametrize('kind', TWINS)
def test_twins_differ_in_size_and_data_only(kind):
    pair = [load(name) for name in (KINDS[kind].format('vitb16'), TWINS[kind])]
    for path in differences(*(cfg.to_dict() for cfg in pair)):
        if path[0] in ('train_pipeline', 'test_pipeline', 'pipeline', 'crop_size'):
            continue  # variables of the file, used in the loaders
        if '_scope_' in path:
            continue  # the library's own mark on what its base defines
        if path in OWN.get(kind, ()):
            continue
        names = [key for key in path if isinstance(key, str)]
        assert names[-1] in SIZES | DATA | TIME or WHOLE & set(names), path
        if names[-1] == 'type':  # of a data set alone
            assert names[-2] == 'dataset', path
        if names[-1] == 'prob':
            assert 'pipeline' in path, path


def expand(name):
    """``a_{b,c}_d`` to ``a_b_d`` and ``a_c_d``."""
    head, brace, rest = name.partition('{')
    if not brace:
        return {name}
    choices, _, tail = rest.partition('}')
    return {f'{head}{choice}{tail}' for choice in choices.split(',')}


def test_the_page_of_configs_lists_every_one():
    text = (FOLDER.parents[1] / 'docs/configs.md').read_text()
    table = text[
        text.index('| task, data set |') : text.index('The command is the same')
    ]
    listed = set().union(*map(expand, re.findall(r'`([\w{},-]+_[\w{},-]+)`', table)))
    assert listed == {path.stem for path in CONFIGS}
    for path in FOLDER.parent.glob('*.py'):
        assert f'`{path.stem}`' in text
