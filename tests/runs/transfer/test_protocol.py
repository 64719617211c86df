"""Protocols in words, options, batches and data folders, read off real configs."""

import json
import shutil

import pytest
import torch
from mmpretrain.registry import MODELS

from dseq_mm.data.checks import places
from dseq_mm.runs import protocol
from dseq_mm.runs.tasks import TASKS, find_config
from dseq_mm.utils.configs import read_config


@pytest.fixture
def load(make_subject):
    """Config of a task for an architecture, with options."""

    def function(task, *options, **facts):
        subject = make_subject(**(dict(arch='vitb16') | facts))
        cfg = protocol.load_config(find_config(TASKS[task], subject), options)
        return TASKS[task], cfg, subject

    return function


SAYS = {
    'knn': 'frozen; average-pooled tokens of the last block, and of the last four, '
    'concatenated; k = 20, temperature 0.07, bank of 10 % of the training images; no '
    'training; 224 px',
    'linear': 'frozen; average-pooled tokens of the last four blocks, concatenated; '
    'batch norm; linear classifier; SGD, learning rate 0.01, weight decay 0.0005; 28 '
    'epochs; batch 256; 224 px',
    'finetune': 'all weights trained; average-pooled patch tokens of the last block; '
    'linear classifier; AdamW, learning rate 0.001, weight decay 0.05; 50 epochs; '
    'batch 512; 224 px',
    'coco': 'all weights trained; four blocks as a pyramid, FPN; Mask R-CNN; AdamW, '
    'learning rate 0.0001, weight decay 0.1; 25 epochs; batch 16; 1024 px',
    'ade20k': 'all weights trained; four blocks as a pyramid; UPerNet with an '
    'auxiliary FCN head; AdamW, learning rate 0.0001, weight decay 0.05; 160000 '
    'iterations; batch 16; 512 px',
    'clevr-count': 'frozen; class token of the last block; linear classifier; AdamW, '
    'learning rate 0.001, weight decay 0.05; 100 epochs; batch 256; 224 px',
}


@pytest.mark.parametrize('task', SAYS)
def test_eight_gpus(load, task):
    options = []
    if task != 'knn':
        options = protocol.batch_options(load(task)[1], [], 8)
    assert bool(options) == (task == 'clevr-count')
    assert protocol.describe(*load(task, *options), 8) == SAYS[task]


def test_a_config_that_asserts_something_lacks_no_library(tmp_path, monkeypatch):
    config, library = tmp_path / 'own.py', tmp_path / 'old_library' / '__init__.py'
    monkeypatch.setattr(protocol, 'read_config', read_config)  # not the cached one
    config.write_text('assert 1 == 2')
    with pytest.raises(ValueError, match='own.py, line 1: AssertionError') as caught:
        protocol.load_config(str(config))
    assert not isinstance(caught.value, protocol.MissingLibrary)
    library.parent.mkdir()
    library.write_text("assert False, 'needs another version'")
    monkeypatch.syspath_prepend(tmp_path)
    config.write_text("custom_imports = dict(imports=['old_library'])")
    with pytest.raises(protocol.MissingLibrary, match='needs another version'):
        protocol.load_config(str(config))


def test_other_sizes(load):
    assert protocol.describe(*load('linear', arch='vith16-448'), 8).endswith('448 px')
    assert protocol.describe(*load('knn', arch='vith16-448'), 8).endswith('448 px')
    assert protocol.describe(*load('knn', arch='digits'), 1).endswith('24 px')
    assert protocol.describe(*load('ade20k', arch='digits'), 1).endswith('64 px')
    shown = protocol.describe(*load('linear', 'train_cfg.max_epochs=3'), 8)
    assert '; 3 epochs;' in shown


def test_batch_and_rate(load):
    _, cfg, _ = load('linear')
    assert protocol.batch_sizes(cfg, 8) == (256, 256)
    assert protocol.batch_options(cfg, [], 8) == []
    # fewer GPUs: gradients are accumulated, unless the user has set something
    rate, counts = 'optim_wrapper.optimizer.lr=', 'optim_wrapper.accumulative_counts='
    assert protocol.batch_options(cfg, [], 2) == [counts + '4']
    assert protocol.batch_options(cfg, [], 1) == [counts + '8']
    # 256 / (3 x 32) is no number
    assert protocol.batch_options(cfg, [], 3) == [rate + '0.00375']
    each = 'train_dataloader.batch_size='
    _, small, _ = load('linear', each + '8')
    assert protocol.batch_options(small, [each + '8'], 1) == [rate + '0.0003125']
    assert protocol.batch_options(cfg, [rate + '0.3'], 2) == []
    # more GPUs: fewer images each, unless the user has set their number
    assert protocol.batch_options(cfg, [], 16) == [each + '16']
    assert protocol.batch_options(cfg, [each + '32'], 16) == [rate + '0.02']
    assert protocol.batch_options(cfg, [], 24) == [
        rate + '0.03'
    ]  # 256 / 24 is no number
    # accumulated images count
    _, cfg, _ = load('coco', 'optim_wrapper.accumulative_counts=8')
    assert protocol.batch_sizes(cfg, 1) == (16, 16)
    assert protocol.batch_options(cfg, [], 1) == []
    assert protocol.batch_options(cfg, [], 2) == [each + '1']
    _, cfg, _ = load('linear', *protocol.batch_options(load('linear')[1], [], 1))
    assert cfg.optim_wrapper.optimizer.lr == 0.01
    assert protocol.batch_sizes(cfg, 1) == (256, 256)
    # a training whose length is given in iterations would be eight times as long
    _, cfg, _ = load('ade20k')
    assert protocol.batch_options(cfg, [], 1) == [rate + '1.25e-05']


@pytest.mark.parametrize('task', [name for name in TASKS if name != 'knn'])
@pytest.mark.parametrize('gpus', [1, 2, 3, 4, 8, 16])
def test_every_deviation_from_the_batch_is_named(load, task, gpus):
    found, cfg, subject = load(task)
    per_update = dict(finetune=512, coco=16, ade20k=16).get(task, 256)
    protocol.add_options(cfg, protocol.batch_options(cfg, [], gpus))
    batch = cfg.train_dataloader.batch_size * gpus
    batch *= cfg.optim_wrapper.get('accumulative_counts', 1)
    rate = {'linear': 0.01, 'inat21': 0.01, 'cub': 0.01, 'cars': 0.01}
    rate |= dict(coco=1e-4, ade20k=1e-4)
    meant = pytest.approx(rate.get(task, 1e-3) * batch / per_update)
    assert cfg.optim_wrapper.optimizer.lr == meant
    named = protocol.deviations(found, cfg, subject, gpus)
    assert bool(named) == (batch != per_update)
    assert bool(named) == (gpus == 3 or (task == 'ade20k' and gpus < 8))
    assert not named or named[0] == f'batch {batch} instead of {per_update}'


def test_pooled_patch_tokens_are_a_deviation(load):
    for task, named in [('clevr-dist', True), ('linear', False), ('coco', False)]:
        parts = load(task, method='IJEPA', class_token=False)
        found = protocol.deviations(*parts, 8 if task != 'clevr-dist' else 1)
        assert bool(found) == named
    task, cfg, subject = load('clevr-dist')
    assert protocol.deviations(task, cfg, subject, 1) == []


def test_accumulation_is_said(load):
    counts = 'optim_wrapper.accumulative_counts='
    shown = protocol.describe(*load('linear', counts + '4'), 2)
    assert '; batch 256 (accumulated, 4 x 64, batch norm over 32); 224 px' in shown
    # synchronized norms see what all processes have
    shown = protocol.describe(*load('ade20k', counts + '4'), 2)
    assert '; batch 16 (accumulated, 4 x 4, batch norm over 4); 512 px' in shown
    shown = protocol.describe(*load('clevr-count', counts + '2'), 1)
    assert '; batch 512 instead of 256 (accumulated, 2 x 256); 224 px' in shown


def check(parts):
    task, cfg, _ = parts
    return None if task.name == 'knn' else places.check_annotations(cfg, task.name)


def loaders(parts):
    return protocol.loaders_of(*parts[:2])


def test_annotations_of_the_images(load, workplace):
    for name in TASKS:
        assert check(load(name)) is None
    moved = [
        f'{split}_dataloader.dataset.data_root=there/'
        for split in ('train', 'val', 'test')
    ]
    there = workplace / 'there' / 'annotations' / 'instances_val2017.json'
    there.parent.mkdir(parents=True)
    there.touch()
    for count, split in enumerate(('val', 'test')):
        found = load('coco', *moved)
        option = f'coco.{split}_evaluator.ann_file={there.relative_to(workplace)}'
        with pytest.raises(ValueError, match=f'in there, but .*{option}'):
            check(found)
        moved.append(option.removeprefix('coco.'))
        assert len(moved) == 4 + count
    check(load('coco', *moved))
    there.unlink()
    with pytest.raises(ValueError, match='no file .*coco.val_evaluator.ann_file'):
        check(load('coco', *moved))
    # the name of a sibling is no sub-folder
    sibling = load('coco', 'val_evaluator.ann_file=data/coco2/a.json')
    with pytest.raises(ValueError, match='images lie in data/coco, but'):
        check(sibling)


def test_builds_of_the_data(load, workplace):
    build = dict(version=1, parameters=dict(seed=0), sha256='d' * 64)
    digits = workplace / 'data' / 'digitscenes'
    for name, folder in [('linear', digits), ('coco', digits / 'scenes')]:
        parts = load(name, arch='digits')
        assert places.data_builds(loaders(parts)) == {str(folder): build}
    real = places.data_builds(loaders(load('linear')))
    assert real == {str(workplace / 'data' / 'imagenet'): None}


@pytest.mark.parametrize('task', ['linear', 'finetune', 'coco', 'clevr-dist', 'knn'])
def test_without_class_token(load, task):
    task, cfg, subject = load(task, method='IJEPA', class_token=False)
    options = protocol.class_token_options(cfg, [], subject)
    assert bool(options) == (task.name != 'knn')
    protocol.add_options(cfg, options)
    assert cfg.model.backbone.with_cls_token is False
    if task.name == 'clevr-dist':
        assert cfg.model.backbone.out_type == 'featmap'
        assert cfg.model.neck.type == 'GlobalAveragePooling'
        words = protocol.describe(task, cfg, subject, 8)
        assert words.startswith('frozen; average-pooled patch tokens of the last')
        with torch.device('meta'):
            scores = MODELS.build(cfg.model)(torch.empty(2, 3, 224, 224))
        assert scores.shape == (2, cfg.model.head.num_classes)
    else:
        assert len(options) <= 1


def test_with_class_token(load):
    _, cfg, subject = load('clevr-dist')
    assert protocol.class_token_options(cfg, [], subject) == []
    # I-JEPA that was trained with a class token has it in kNN, too
    _, cfg, subject = load('knn', method='IJEPA')
    (option,) = protocol.class_token_options(cfg, [], subject)
    assert option == 'model.backbone.with_cls_token=True'
    own = ['model.backbone.with_cls_token=False']
    assert protocol.class_token_options(cfg, own, subject) == []


def test_data_folders(load, workplace):
    folders = {
        'knn': 'data/imagenet',
        'linear': 'data/imagenet',
        'finetune': 'data/imagenet',
        'inat21': 'data/inat21',
        'cub': 'data/CUB_200_2011',
        'cars': 'data/stanford_cars',
        'coco': 'data/coco',
        'ade20k': 'data/ade/ADEChallengeData2016',
        'clevr-count': 'data/CLEVR_v1.0',
        'clevr-dist': 'data/CLEVR_v1.0',
    }
    loaded = {name: loaders(load(name)) for name in TASKS}
    for parts in loaded.values():
        assert places.missing_folders(parts) == []
    shutil.rmtree(workplace / 'data')
    for name, parts in loaded.items():
        assert places.missing_folders(parts) == [folders[name]]
    parts = load('clevr-count', 'train_dataloader.dataset.data_root=elsewhere')
    assert places.missing_folders(loaders(parts)) == ['data/CLEVR_v1.0', 'elsewhere']


def test_options():
    split = protocol.split_options(['clevr-count.a.b=[1,2]', 'knn.c=x=y', 'knn.d=1'])
    assert split == {'clevr-count': ['a.b=[1,2]'], 'knn': ['c=x=y', 'd=1']}
    for wrong in ('a.b=1', 'linear.a', 'linear=1', 'train_cfg.max_epochs=1'):
        with pytest.raises(ValueError, match='write TASK.key=value'):
            protocol.split_options([wrong])


def test_options_are_read_as_the_tools_do(load):
    _, cfg, _ = load(
        'linear', 'model.head.topk=[1,3]', 'work_dir=a b', 'train_cfg.max_epochs=2'
    )
    assert list(cfg.model.head.topk) == [1, 3]
    assert (cfg.work_dir, cfg.train_cfg.max_epochs) == ('a b', 2)
    text = protocol.settings_text(cfg)
    assert json.loads(text)['work_dir'] == 'a b'
    assert text == protocol.settings_text(
        load(
            'linear', 'train_cfg.max_epochs=2', 'work_dir=a b', 'model.head.topk=[1,3]'
        )[1]
    )
    with pytest.raises(ValueError, match='does not take an option: .*pipeline.7'):
        load('linear', 'train_dataloader.dataset.pipeline.7.scale=3')


def test_a_library_that_is_missing(load, monkeypatch):
    def fail(*_):
        error = ModuleNotFoundError("No module named 'mmdet'")
        raise ValueError('what read_config says') from error

    monkeypatch.setattr(protocol, 'read_config', fail)
    with pytest.raises(ValueError, match='mmdet.*dseq_mm.doctor'):
        load('coco')
