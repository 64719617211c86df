"""The best checkpoint by what KNNHook measures: its name, its epoch, its rule."""

import os
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import CheckpointHook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from torch import nn

from dseq_mm.engine.durable import DurableCheckpointHook
from dseq_mm.evaluation import knn_hook
from dseq_mm.evaluation.best import check_save_best, keep_best
from dseq_mm.evaluation.knn_hook import KNNHook

NAMES = ['knn_last', 'knn_last4', 'rank_me', 'feature_std']


class Pixels(BaseModel):
    """Its backbone pools the images to rows and columns."""

    def __init__(self, preprocessor):
        super().__init__(data_preprocessor=MODELS.build(preprocessor))
        self.backbone = nn.Conv2d(3, 4, 2)

    def forward(self, inputs, data_samples=None, mode='loss'):
        return dict(loss=self.backbone(inputs).pow(2).mean())


@pytest.fixture
def train(tmp_path, loader_config, preprocessor, monkeypatch, safe_loader):
    def run(scores, first=1, loop='ResumableTrainLoop', query=True, **checkpoint):
        values = iter(scores)

        def metrics(bank, *args):
            value = next(values)
            found = dict(rank_me=value, feature_std=0.5)
            return {**found, 'knn_last': value, 'knn_last4': 9.0} if query else found

        monkeypatch.setattr(knn_hook, 'knn_metrics', metrics)
        hook = KNNHook(
            loader_config(), loader_config() if query else None, interval=1, k=3
        )
        runner = Runner(
            model=Pixels(preprocessor),
            work_dir=str(tmp_path),
            train_dataloader={
                **loader_config(),
                'sampler': dict(type='DefaultSampler', shuffle=True),
            },
            train_cfg=dict(type=loop, max_epochs=first + len(scores) - 1),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05)),
            default_hooks=dict(
                strict=dict(type='StrictCheckpointHook'),
                checkpoint={
                    'type': 'DurableCheckpointHook',
                    'interval': 1,
                    'max_keep_ckpts': 1,
                    **checkpoint,
                },
            ),
            custom_hooks=[hook],
            default_scope='mmpretrain',
            randomness=dict(seed=0),
            experiment_name=os.urandom(6).hex(),
            resume=first > 1,
        )
        runner.train()
        return runner

    return run


def files(folder):
    return sorted(path.name for path in folder.glob('*.pth'))


@pytest.mark.parametrize('kind', ['CheckpointHook', 'DurableCheckpointHook'])
@pytest.mark.parametrize('key', ['knn_last', 'val/knn_last'])
def test_best_file_and_resume(train, tmp_path, kind, key):
    options = dict(type=kind, save_best=key, rule='greater')
    name = f'best_{key.replace("/", "_")}_epoch'
    train([1.0, 3.0, 2.0], **options)
    assert files(tmp_path) == [f'{name}_2.pth', 'epoch_3.pth']
    best = torch.load(tmp_path / f'{name}_2.pth', weights_only=False)
    assert (best['meta']['epoch'], best['meta']['iter']) == (2, 6)
    assert (best['meta']['run']['epoch'], best['meta']['run']['seen']) == (2, 0)
    runner = train([2.5, 4.0], first=4, **options)
    assert files(tmp_path) == [f'{name}_5.pth', 'epoch_5.pth']
    assert runner.epoch == 5 and runner.message_hub.get_info('best_score') == 4.0
    last = torch.load(tmp_path / 'epoch_5.pth', weights_only=False)
    assert last['message_hub']['runtime_info']['best_score'] == 4.0
    assert last['meta']['run']['epoch'] == 5 and last['meta']['run']['seen'] == 0


@pytest.mark.parametrize(
    ('query', 'options', 'kept'),
    [
        (True, dict(save_best='auto'), ['best_knn_last_epoch_2']),
        (False, dict(save_best='auto'), ['best_rank_me_epoch_2']),
        (True, dict(save_best='rank_me'), ['best_rank_me_epoch_2']),
        (True, dict(save_best='knn_last', rule='less'), ['best_knn_last_epoch_1']),
        (
            True,
            dict(save_best=['knn_last4', 'rank_me']),
            ['best_knn_last4_epoch_1', 'best_rank_me_epoch_2'],
        ),
        # the host's loop counts epochs alike
        (
            True,
            dict(save_best='auto', loop='EpochBasedTrainLoop'),
            ['best_knn_last_epoch_2'],
        ),
    ],
)
def test_rules(train, tmp_path, query, options, kept):
    train([1.0, 3.0, 2.0], query=query, **options)
    assert files(tmp_path) == [*(f'{name}.pth' for name in kept), 'epoch_3.pth']


def test_another_metric_after_resume(train, tmp_path):
    train([50.0], save_best='knn_last')
    train([2.0], first=2, save_best='rank_me')
    kept = ['best_knn_last_epoch_1.pth', 'best_rank_me_epoch_2.pth', 'epoch_2.pth']
    assert files(tmp_path) == kept


def place(hook, val_loop=None):
    return SimpleNamespace(
        hooks=[hook],
        val_loop=val_loop,
        message_hub=SimpleNamespace(runtime_info={}),
        logger=SimpleNamespace(warning=pytest.fail),
    )


def test_refused_before_training():
    misspelt = DurableCheckpointHook(save_best='knn_lsat')
    with pytest.raises(ValueError, match="'knn_lsat' is not measured.*'knn_last'"):
        check_save_best(place(misspelt), NAMES)
    beside = DurableCheckpointHook(save_best='val/rank_me')
    with pytest.raises(ValueError, match="'val/rank_me' is measured in training"):
        check_save_best(place(beside, val_loop=object()), NAMES)
    with pytest.raises(ValueError, match="'auto' means 'knn_last'.*rule='greater'"):
        check_save_best(place(CheckpointHook(save_best='auto')), NAMES)
    check_save_best(place(CheckpointHook()), NAMES)


def test_the_validation_has_its_own_best():
    hook = DurableCheckpointHook(save_best='accuracy/top1')
    runner = place(hook, val_loop=object())
    check_save_best(runner, NAMES)
    keep_best(runner, dict.fromkeys(NAMES, 1.0))  # nothing is saved
