"""The hook measures on time and leaves the training as it was."""

import multiprocessing
import os
import random
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS, MODELS
from torch import nn

from dseq_mm.cli.processes import leave_group
from dseq_mm.engine.preemption import TrainingInterrupted
from dseq_mm.evaluation.knn_hook import KNNHook, preserved_randomness


class Toy(BaseModel):
    """Pulls pooled features to a noisy target; its EMA encoder never moves."""

    def __init__(self, backbone, preprocessor, with_target=True):
        super().__init__(data_preprocessor=MODELS.build(preprocessor))
        self.backbone = backbone
        if with_target:
            self.target_encoder = nn.Module()
            self.target_encoder.module = type(backbone)(
                arch=backbone.arch_settings, img_size=16, patch_size=4
            )

    def forward(self, inputs, data_samples=None, mode='loss'):
        features = self.backbone(inputs)[-1]
        return dict(loss=(features - torch.randn_like(features)).pow(2).mean())


@DATASETS.register_module(force=True)
class Broken(BaseDataset):
    """Stripes of which some are wrong."""

    def __init__(
        self,
        size=11,
        seed=0,
        labeled=True,
        broken=(),
        multi=False,
        first=0,
        folder='',
        shape=(16, 16, 3),
        wide=False,
        **kwargs,
    ):
        self.size, self.seed, self.labeled, self.shape = size, seed, labeled, shape
        self.broken, self.multi, self.first, self.folder = broken, multi, first, folder
        self.wide = wide
        super().__init__(ann_file='', serialize_data=False, **kwargs)

    @staticmethod
    def loader(loader_config, **changes):
        config = loader_config()
        config['dataset'] = {**config['dataset'], 'type': 'Broken', **changes}
        return config

    def load_data_list(self):
        if self.folder:
            raise FileNotFoundError(2, 'No such file or directory', self.folder)
        rng = np.random.RandomState(self.seed)
        samples = []
        for index in range(self.size):
            image = rng.randint(0, 255, self.shape).astype(np.uint8)
            if self.wide and index == self.size - 1:
                image = np.concatenate([image, image[:, :4]], axis=1)
            sample = dict(img=image, sample_idx=index)
            if self.labeled:
                sample['gt_label'] = self.first if index == 0 else index % 3
            if self.multi and index in self.broken:
                sample['gt_label'] = [0, 1]
            samples.append(sample)
        return samples

    def prepare_data(self, idx):
        if idx in self.broken and not self.multi:
            raise OSError(f'image {idx} is cut off')
        return super().prepare_data(idx)


def train(work_dir, model, config, hooks, max_epochs=3, loop='EpochBased', **options):
    runner = Runner(
        model=model,
        work_dir=str(work_dir),
        train_dataloader={**config, 'sampler': dict(type='DefaultSampler')},
        train_cfg=dict(type=f'{loop}TrainLoop', max_epochs=max_epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05)),
        custom_hooks=hooks,
        default_scope='mmpretrain',
        randomness=dict(seed=0),
        experiment_name=os.urandom(6).hex(),
        **options,
    )
    runner.train()
    return runner


@pytest.mark.parametrize('encoder', ['target', 'context', None])
def test_schedule_and_no_trace(
    tmp_path, build_vit, loader_config, preprocessor, encoder
):
    hook = dict(
        type='KNNHook',
        bank=loader_config(size=30),
        query=loader_config(seed=1),
        interval=2,
        encoder=encoder,
        k=5,
        bank_fraction=0.5,
    )
    weights, runners = [], []
    for hooks in ([], [hook]):
        torch.manual_seed(0)
        model = Toy(build_vit(), preprocessor)
        model.target_encoder.module.init_weights()
        runners.append(train(tmp_path, model, loader_config(), hooks))
        weights.append(model.state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    # after epoch 2 and after the last, 3
    for name in ('knn_last', 'knn_last4', 'rank_me', 'feature_std'):
        values, _ = runners[1].message_hub.get_scalar(f'val/{name}').data
        assert len(values) == 2
    # `values` of the spread: the target encoder of this model does not train
    assert (values[0] == values[1]) == (encoder == 'target')
    assert 'val/knn_last' not in runners[0].message_hub.log_scalars
    assert runners[1].model.training and runners[1].model.backbone.training
    scalars = next(tmp_path.rglob('scalars.json'), None)
    assert scalars is not None


def prepare(hook, model, hooks=(), info=None):
    """A runner that is about to train, as far as the hook looks at it."""
    notes = []
    runner = SimpleNamespace(
        model=model,
        val_loop=None,
        hooks=[*hooks, hook],
        logger=SimpleNamespace(info=notes.append, warning=notes.append),
        message_hub=SimpleNamespace(runtime_info=info or {}),
    )
    hook.before_train(runner)
    return notes


@pytest.fixture
def toy(build_vit, preprocessor):
    return Toy(build_vit(), preprocessor, with_target=False)


@pytest.mark.parametrize('case', ['no query', 'no labels'])
def test_without_labels_only_the_spread_is_logged(tmp_path, toy, loader_config, case):
    bank = loader_config(labeled=case == 'no query')
    query = None if case == 'no query' else loader_config()
    hook = KNNHook(bank, query, interval=1, k=30)
    assert hook.frozen_backbone(toy) is toy.backbone
    runner = train(tmp_path, toy, loader_config(), [hook], max_epochs=2)
    logged = {name for name in runner.message_hub.log_scalars if name[:4] == 'val/'}
    assert logged == {'val/rank_me', 'val/feature_std'}
    text = next(tmp_path.rglob('*.log')).read_text()
    assert text.count('logs rank_me and feature_std of the bank only') == 1


CLASSES = dict(metainfo=dict(classes=('a', 'b', 'c')))


@pytest.mark.parametrize(
    ('bank', 'query', 'settings', 'message'),
    [
        ({}, {}, dict(k=12), 'k=12 neighbors from a bank of 11 images.* at most 11'),
        ({}, {}, dict(k=4, bank_fraction=0.3), 'bank of 3 images .bank_fraction=0.3'),
        ({}, dict(size=0), {}, "KNNHook's query: it has no image"),
        ({}, dict(labeled=False), {}, "KNNHook's query has no labels"),
        ({}, dict(broken=(4,), multi=True), {}, 'query: .* 4 has 2 classes'),
        (dict(first=-1), {}, {}, 'bank: its labels are -1 to'),
        (dict(CLASSES, first=3), {}, {}, 'bank: its labels are .* the 3 classes'),
        ({}, dict(broken=(0,)), {}, 'query: .*image 0 is cut off'),
        (dict(folder='gone'), {}, {}, "KNNHook's bank: .*gone"),
        (dict(pipeline=[]), {}, {}, 'bank: the pipeline does not pack'),
        (dict(shape=(16, 16, 2)), {}, {}, 'bank: its first image does not go through'),
        (dict(shape=(80, 64, 3)), {}, {}, 'bank: .* 64 x 80 .* for 16 x 16: add a'),
        ({}, dict(wide=True), {}, 'query: .* 16 x 16 and 20 x 16 after'),
        (
            CLASSES,
            dict(metainfo=dict(classes=('a', 'b', 'dog'))),
            {},
            "query against its bank: 1 of 3 classes are unknown: 'dog'",
        ),
    ],
)
def test_refused_before_training(toy, loader_config, bank, query, settings, message):
    bank, query = (Broken.loader(loader_config, **changes) for changes in (bank, query))
    with pytest.raises(ValueError, match=message):
        prepare(KNNHook(bank, query, **{'k': 3, **settings}), toy)


@pytest.mark.parametrize(
    ('bank', 'query', 'note'),
    [
        ({}, {}, 'bank are not known; labels are compared as numbers'),
        (CLASSES, {}, 'query are not known; labels are compared as numbers'),
        (CLASSES, CLASSES, 'the same 3 classes'),
        (
            dict(metainfo=dict(classes=('z', 'c', 'a', 'b'))),
            CLASSES,
            'the 3 classes of its query are mapped by name onto the 4',
        ),
        (dict(size=3, first=1), {}, '1 of the classes .* no image .* 4 queries'),
    ],
)
def test_the_log_says_how_classes_are_compared(toy, loader_config, bank, query, note):
    bank, query = (Broken.loader(loader_config, **changes) for changes in (bank, query))
    notes = prepare(KNNHook(bank, query, k=3), toy)
    assert re.search(note, ' '.join(notes)), notes


def test_a_failed_measurement_costs_nothing(tmp_path, toy, loader_config):
    bank = Broken.loader(loader_config, broken=(7,))
    saved = []

    class Look(Hook):
        priority = 'LOWEST'

        def after_train_epoch(self, runner):
            saved.append(sorted(path.name for path in tmp_path.glob('epoch_*.pth')))

    hooks = [Look(), KNNHook(bank, loader_config(), interval=1, k=3)]
    runner = train(tmp_path, toy, loader_config(), hooks, max_epochs=2)
    assert saved == [['epoch_1.pth'], ['epoch_1.pth', 'epoch_2.pth']]
    assert runner.epoch == 2 and 'val/rank_me' not in runner.message_hub.log_scalars
    warned = re.findall(
        'could not measure epoch ([12]), the training goes on: OSError: image 7 is cut',
        next(tmp_path.rglob('*.log')).read_text(),
    )
    assert warned == ['1', '2']


def test_what_a_failed_measurement_says(toy, loader_config):
    hook = KNNHook(loader_config(), loader_config(), k=3)
    prepare(hook, toy)
    runner = SimpleNamespace(model=toy)
    with torch.no_grad():
        toy.backbone.ln1.bias.fill_(float('nan'))
    metrics, reason = hook._measure(runner)
    assert metrics is None and 'of 11 images of the bank are NaN' in reason
    hook.encoder, toy.target_encoder = 'target', None  # an accident of any kind
    assert hook._measure(runner)[1].startswith('AttributeError: ')

    def end(*args):
        raise TrainingInterrupted('SIGTERM')

    hook._extract = end
    with pytest.raises(TrainingInterrupted):
        hook._measure(runner)


def measure(rank, store, queue, hook, toy):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{store}', rank=rank, world_size=2
    )
    runner, found = SimpleNamespace(model=toy), []
    prepare(hook, toy)
    for broken in ((), (5,)):  # an image of the second process
        hook._data.bank.dataset.broken = broken
        found.append(hook._measure(runner))
    queue.put(found)
    leave_group()


def test_two_processes_agree(tmp_path, toy, loader_config):
    bank = Broken.loader(loader_config)
    hook = KNNHook(bank, loader_config(seed=1), k=3)
    prepare(hook, toy)
    alone, _ = hook._measure(SimpleNamespace(model=toy))
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    processes = [
        context.Process(target=measure, args=(rank, tmp_path / 's', queue, hook, toy))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    results = [queue.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(timeout=60)
    for (metrics, _), (none, reason) in results:
        assert metrics == pytest.approx(alone) and none is None
        assert reason == 'OSError: image 5 is cut off'


def test_wrong_arguments(loader_config):
    for changes in (
        dict(encoder='ema'),
        dict(interval=0),
        dict(k=0),
        dict(k=2.5),
        dict(temperature=0),
        dict(bank_fraction=0),
        dict(bank_fraction=1.5),
    ):
        with pytest.raises(ValueError):
            KNNHook(loader_config(), loader_config(), **changes)


def test_randomness_is_preserved():
    def draw():
        return random.random(), np.random.rand(), torch.rand(()).item()

    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    expected = draw()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    with pytest.raises(KeyError), preserved_randomness():
        draw()
        raise KeyError
    assert draw() == expected
