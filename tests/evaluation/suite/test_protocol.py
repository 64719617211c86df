"""Protocols in words, options, batches and data folders, read off real configs."""

import json
import shutil

import pytest

from dseq_mm.evaluation.suite import protocol
from dseq_mm.evaluation.suite.tasks import TASKS, find_config


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


def test_other_sizes(load):
    assert protocol.describe(*load('linear', arch='vith16-448'), 8).endswith('448 px')
    assert protocol.describe(*load('knn', arch='vith16-448'), 8).endswith('448 px')
    assert protocol.describe(*load('knn', arch='digits'), 1).endswith('24 px')
    assert protocol.describe(*load('ade20k', arch='digits'), 1).endswith('48 px')
    shown = protocol.describe(*load('linear', 'train_cfg.max_epochs=3'), 8)
    assert '; 3 epochs;' in shown


def test_batch_and_rate(load):
    _, cfg, _ = load('linear')
    assert protocol.batch_sizes(cfg, 8) == (256, 256)
    assert protocol.batch_options(cfg, [], 8) == []
    # fewer GPUs: the rate is scaled, unless the user has set it
    rate = 'optim_wrapper.optimizer.lr='
    assert protocol.batch_options(cfg, [], 2) == [rate + '0.0025']
    assert protocol.batch_options(cfg, [rate + '0.3'], 2) == []
    # more GPUs: fewer images each, unless the user has set their number
    each = 'train_dataloader.batch_size='
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
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(0.01 * 32 / 256)


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
    loaded = {name: load(name)[:2] for name in TASKS}
    for parts in loaded.values():
        assert protocol.missing_folders(*parts) == []
    shutil.rmtree(workplace / 'data')
    for name, parts in loaded.items():
        assert protocol.missing_folders(*parts) == [folders[name]]
    task, cfg, _ = load('clevr-count', 'train_dataloader.dataset.data_root=elsewhere')
    assert protocol.missing_folders(task, cfg) == ['data/CLEVR_v1.0', 'elsewhere']


def test_options():
    split = protocol.split_options(['clevr-count.a.b=[1,2]', 'knn.c=x=y', 'knn.d=1'])
    assert split == {'clevr-count': ['a.b=[1,2]'], 'knn': ['c=x=y', 'd=1']}
    for wrong in ('a.b=1', 'linear.a', 'linear=1', 'train_cfg.max_epochs=1'):
        with pytest.raises(ValueError, match='write TASK.key=value'):
            protocol.split_options([wrong])


def test_options_are_read_as_the_tools_do(load):
    _, cfg, _ = load('linear', 'model.head.topk=[1,3]', 'a.b=text', 'train_cfg.x=2.5')
    assert list(cfg.model.head.topk) == [1, 3]
    assert (cfg.a.b, cfg.train_cfg.x) == ('text', 2.5)
    text = protocol.settings_text(cfg)
    assert json.loads(text)['a'] == dict(b='text')
    assert text == protocol.settings_text(
        load('linear', 'train_cfg.x=2.5', 'a.b=text', 'model.head.topk=[1,3]')[1]
    )
    with pytest.raises(ValueError, match='does not take the options train_data'):
        load('linear', 'train_dataloader.dataset.pipeline.7.scale=3')


def test_a_library_that_is_missing(load, monkeypatch):
    def fail(*_):
        raise ModuleNotFoundError("No module named 'mmdet'")

    monkeypatch.setattr(protocol.Config, 'fromfile', fail)
    with pytest.raises(ValueError, match='mmdet.*dseq_mm.doctor'):
        load('coco')
