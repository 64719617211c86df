"""BYOL with the EMA target encoder and the kNN hook of dseq_mm."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.models import VisionTransformer
from mmpretrain.registry import MODELS

from dseq_mm.evaluation.features import extract_features
from dseq_mm.evaluation.knn import knn_metrics
from dseq_mm.transfer import load_backbone
from dseq_mm.transfer.export import export_backbone
from projects.byol_target_encoder import BYOLWithTargetEncoder
from tests.end_to_end.runs import write_images
from tests.models.builders import images, samples

PROJECT = Path(__file__).parents[2] / 'projects' / 'byol_target_encoder'
CONFIG = PROJECT / 'configs' / 'byol_digitscenes_20e.py'
AVERAGES = dict(target_encoder='backbone', target_neck='neck')


def build(kind='BYOLWithTargetEncoder', **neck):
    """The config's model, in float64."""
    torch.manual_seed(0)
    config = Config.fromfile(CONFIG).model
    config.type = kind
    config.neck.update(neck)
    if kind == 'BYOL':
        del config['target_encoder']
    model = MODELS.build(config)
    model.init_weights()
    if kind != 'BYOL':
        model.target_encoder.progress = model.target_neck.progress = 0.0
    return model.double().train()


def views(count=4):
    return [images(count, (24, 24), seed, torch.float64) for seed in (0, 1)]


def test_target_network_starts_as_the_online_network():
    model = build(init_cfg=dict(type='Normal', layer='Linear', std=0.1))
    assert not hasattr(model, 'target_net')
    for target, source in AVERAGES.items():
        average = getattr(model, target).module.state_dict()
        online = getattr(model, source).state_dict()
        assert average.keys() == online.keys()
        assert all(torch.equal(average[key], online[key]) for key in online)


def test_first_loss_is_the_hosts():
    """The host copies the online network at its first iteration."""
    ours, host = build(), build('BYOL')
    weights = {k: v for k, v in ours.state_dict().items() if 'target' not in k}
    missing = host.load_state_dict(weights, strict=False).missing_keys
    assert missing and all(key.startswith('target_net') for key in missing)
    losses = [model.loss(views(), samples(range(4)))['loss'] for model in (ours, host)]
    torch.testing.assert_close(*losses)


def test_loss_is_minus_twice_the_cosines_of_both_directions():
    model = build()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith('target'):
                parameter.add_(0.1 * torch.randn_like(parameter))
    actual = model.loss(views(), samples(range(4)))['loss']
    first, second = views()
    expected = 0.0
    for mine, other in ((first, second), (second, first)):
        projected = model.neck(model.backbone(mine))
        predicted = model.head.predictor(projected)[0]
        target = model.target_neck.module(model.target_encoder.module(other))[0]
        for image in range(4):
            p, t = predicted[image], target[image]
            expected -= 2 * (p @ t) / (p @ p).sqrt() / (t @ t).sqrt() / 4
    torch.testing.assert_close(actual, expected)


def test_gradient_reaches_every_online_and_no_target_parameter():
    model = build()
    model.loss(views(), samples(range(4)))['loss'].backward()
    for name, parameter in model.named_parameters():
        if name.startswith('target'):
            assert parameter.grad is None and not parameter.requires_grad, name
        elif name == 'backbone.ln2.bias':  # the neck's batch norm takes shifts out
            assert parameter.grad.abs().sum() < 1e-12
        else:
            assert parameter.grad.abs().sum() > 1e-8, name


def test_only_batch_norm_mixes_images():
    model, inputs = build(), views()[0]
    changed = inputs.clone()
    changed[1] += 1.0
    others = [0, 2, 3]

    def same(network):
        return torch.equal(network(inputs)[0][others], network(changed)[0][others])

    def project(x):
        return model.neck(model.backbone(x))

    def predict(x):
        return model.head.predictor(project(x))

    assert same(model.backbone) and same(model.target_encoder)
    assert not same(project) and not same(predict)
    model.neck.eval()
    assert same(project) and not same(predict)
    model.eval()
    assert same(predict)


def test_the_hosts_momentum_is_refused():
    config = Config.fromfile(CONFIG).model
    with pytest.raises(ValueError, match='1 - base_momentum'):
        MODELS.build(dict(config, base_momentum=0.01))


class Recorder(Hook):
    """Remember weights after each iteration, and whether the views differ."""

    priority = 'LOWEST'

    def __init__(self):
        self.weights, self.views = [], []

    def before_train(self, runner):
        self.weights.append(copy.deepcopy(runner.model.state_dict()))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.weights.append(copy.deepcopy(runner.model.state_dict()))
        self.views.append([tuple(view.shape) for view in data_batch['inputs']])
        assert not torch.equal(*data_batch['inputs'])


def run(folder, encoder):
    """Train four iterations, two optimizer steps, with the kNN hook."""
    data = write_images(folder / 'images')
    cfg = Config.fromfile(CONFIG)
    cfg.work_dir = str(folder / f'run_{encoder}')
    cfg.experiment_name = f'{folder.name}_{encoder}'
    cfg.log_level = 'ERROR'
    cfg.train_cfg.max_epochs = 1
    cfg.param_scheduler = []
    cfg.optim_wrapper.accumulative_counts = 2
    cfg.optim_wrapper.optimizer.lr = 0.05
    cfg.model.target_encoder.momentum = 0.5
    cfg.train_dataloader.batch_size = 4
    cfg.train_dataloader.dataset.dataset.update(data_root='', data_prefix=str(data))
    knn = cfg.custom_hooks[0]
    knn.update(encoder=encoder, k=5)
    for loader in (knn.bank, knn.query):
        loader.dataset.update(data_root='', data_prefix=str(data))
        loader.dataset.pipeline.insert(
            1, dict(type='Resize', scale=(24, 24), backend='pillow')
        )
    runner = Runner.from_cfg(cfg)
    recorder = Recorder()
    runner.register_hook(recorder)
    runner.train()
    return runner, recorder, knn


def part(state, name):
    """Parameters and buffers below a name, without those of batch norm."""
    return {
        key[len(name) + 1 :]: value
        for key, value in state.items()
        if key.startswith(f'{name}.') and 'running' not in key and 'num_' not in key
    }


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope('mmpretrain'):
        folder = tmp_path_factory.mktemp('byol')
        return {encoder: run(folder, encoder) for encoder in ('target', 'context')}


def test_average_moves_once_per_optimizer_step_by_the_formula(finished):
    runner, recorder, _ = finished['target']
    assert isinstance(runner.model, BYOLWithTargetEncoder)
    assert recorder.views == [[(4, 3, 24, 24)] * 2] * 4
    weights = recorder.weights
    assert len(weights) == 5 and runner.model.target_encoder.steps == 2
    for target, source in AVERAGES.items():
        # momentum 0.5 + (1 - 0.5) * step / 2 at the iterations that step: 1 and 3
        expected = part(weights[0], source)
        for iteration, momentum in enumerate((None, 0.5, None, 0.75)):
            before, after = weights[iteration], weights[iteration + 1]
            online = part(after, source)
            moved = any(
                not torch.equal(online[k], before[f'{source}.{k}']) for k in online
            )
            assert moved == (momentum is not None)
            if momentum is not None:
                for key in expected:
                    share = (1 - momentum) * online[key]
                    expected[key] = momentum * expected[key] + share
            average = part(after, f'{target}.module')
            assert average.keys() == expected.keys()
            for key in expected:
                torch.testing.assert_close(average[key], expected[key])


@pytest.mark.parametrize('encoder', ['target', 'context'])
def test_knn_hook_measures_the_encoder_asked_for(finished, encoder):
    runner, _, knn = finished[encoder]
    model = runner.model
    networks = dict(target=model.target_encoder.module, context=model.backbone)
    loader = Runner.build_dataloader(knn.bank)
    metrics = {}
    for name, network in networks.items():
        features = extract_features(network, loader, model.data_preprocessor, 'cpu')
        metrics[name] = knn_metrics(features, features, k=5)
    logged = {
        name: runner.message_hub.get_scalar(f'val/{name}').current()
        for name in metrics[encoder]
    }
    assert logged == pytest.approx(metrics[encoder])
    assert metrics['target'] != pytest.approx(metrics['context'])


def test_exported_average_loads_into_a_plain_vit(finished, tmp_path):
    runner = finished['target'][0]
    checkpoint = Path(runner.work_dir) / 'epoch_1.pth'
    export_backbone(checkpoint, tmp_path / 'backbone.pth')
    arguments = {k: v for k, v in runner.cfg.model.backbone.items() if k != 'type'}
    plain = VisionTransformer(**{**arguments, 'out_type': 'raw'})
    load_backbone(plain, tmp_path / 'backbone.pth')
    average = copy.deepcopy(runner.model.target_encoder.module)
    average.out_type = 'raw'
    inputs = images(2, (24, 24))
    assert torch.equal(plain(inputs)[0], average(inputs)[0])


def test_one_view_and_a_network_that_nothing_moves_are_refused():
    model = build()
    for inputs in (views()[0], views()[:1]):
        with pytest.raises(ValueError, match='MultiView'):
            model.loss(inputs, samples(range(4)))
    model.target_encoder.progress = None
    with pytest.raises(ValueError, match="type='TargetEncoderHook'"):
        model.loss(views(), samples(range(4)))
