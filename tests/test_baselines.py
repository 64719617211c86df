"""mmpretrain's MAE and MoCo v3: same data, same budget, same probes as ours."""

import json
import runpy
from pathlib import Path

import mmpretrain
import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import BaseAveragedModel
from mmengine.optim import build_optim_wrapper
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmengine.registry import DefaultScope
from mmpretrain.models import VisionTransformer
from mmpretrain.registry import DATASETS, MODELS

from dseq_mm.evaluation.knn import evaluate_config
from dseq_mm.runs.subject import read_subject
from dseq_mm.transfer.checkpoint import load_checkpoint
from dseq_mm.transfer.initialize import load_backbone
from tests.end_to_end.miniature import imagenet
from tests.end_to_end.runs import run_tool, write_images
from tests.models.builders import samples
from tests.quick_python import EXECUTABLE

FOLDER = Path(__file__).parents[1] / 'configs'
CONVERTER = (
    Path(mmpretrain.__path__[0]) / '.mim/tools/model_converters/deit3_to_mmpretrain.py'
)
NAMES = dict(mae='MAE', mocov3='MoCoV3')
EMA = 'momentum_encoder.'
STOCK_MAE = 'mmpretrain::mae/mae_vit-base-p16_8xb512-amp-coslr-300e_in1k.py'


def load(name):
    return Config.fromfile(FOLDER / f'{name}_digitscenes_20e.py')


def build(name):
    torch.manual_seed(0)
    model = MODELS.build(load(f'baselines/{name}').model)
    model.init_weights()
    MessageHub.get_current_instance().update_info('max_iters', 10)
    return model


def losses(model, name):
    """One step on random images."""
    views = [torch.randint(0, 256, (8, 3, 24, 24), dtype=torch.uint8) for _ in range(2)]
    inputs = views[0] if name == 'mae' else views
    batch = dict(inputs=inputs, data_samples=samples(range(8)))
    return model.loss(**model.data_preprocessor(batch, True))


@pytest.mark.parametrize('name', NAMES)
def test_a_step_reaches_every_online_parameter(name):
    model = build(name)
    assert type(model).__name__ == NAMES[name]
    losses(model, name)['loss'].backward()
    for key, parameter in model.named_parameters():
        # fixed: positions, and MoCo v3's patch projection, as its authors advise
        fixed = key.endswith('pos_embed') or name == 'mocov3' and 'projection' in key
        if key.startswith(EMA) or fixed:
            assert not parameter.requires_grad and parameter.grad is None, key
        else:
            assert parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize('name', NAMES)
def test_what_the_optimizer_trains_and_decays(name):
    cfg, model = load(f'baselines/{name}'), build(name)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    decay = {p: g['weight_decay'] for g in optimizer.param_groups for p in g['params']}
    trained = {k: p for k, p in model.named_parameters() if p.requires_grad}
    averaged = isinstance(getattr(model, 'momentum_encoder', None), BaseAveragedModel)
    assert averaged == (name == 'mocov3')
    assert decay.keys() == set(trained.values())
    if name == 'mocov3':
        assert set(decay.values()) == {0.1}
        return
    without = {key for key, p in trained.items() if decay[p] == 0}
    expected = {key for key, p in trained.items() if p.ndim == 1 or 'token' in key}
    assert without == expected and set(decay.values()) == {0.0, 0.05}


@pytest.mark.parametrize('name', NAMES)
def test_several_processes_expect_what_is_trained(name):
    # the distributed wrapper looks before the weights are initialized
    before = MODELS.build(load(f'baselines/{name}').model)
    waits = {k for k, p in before.named_parameters() if p.requires_grad}
    trained = {k for k, p in build(name).named_parameters() if p.requires_grad}
    unused = load(f'baselines/{name}').get('find_unused_parameters', False)
    assert (waits != trained) == unused


@pytest.mark.parametrize('name', NAMES)
def test_budget_is_that_of_our_methods(name):
    ours, theirs = load('dseq'), load(f'baselines/{name}')
    for key in ('arch', 'img_size', 'patch_size'):
        assert theirs.model.backbone[key] == ours.model.backbone[key]
    for key in ('mean', 'std', 'to_rgb'):
        assert theirs.model.data_preprocessor[key] == ours.model.data_preprocessor[key]
    assert theirs.train_cfg == ours.train_cfg
    assert theirs.custom_hooks == ours.custom_hooks
    assert theirs.auto_scale_lr == ours.auto_scale_lr
    assert theirs.param_scheduler == ours.param_scheduler[:2]
    optimizers = [cfg.optim_wrapper.optimizer for cfg in (ours, theirs)]
    for key in ('type', 'lr'):
        assert optimizers[0][key] == optimizers[1][key]
    hooks = dict(ours.default_hooks)
    assert hooks.pop('target_encoder')
    assert theirs.default_hooks == hooks
    data = [cfg.train_dataloader.to_dict() for cfg in (ours, theirs)]
    pipelines = [loader['dataset']['dataset'].pop('pipeline') for loader in data]
    assert data[0] == data[1]
    assert (pipelines[0] == pipelines[1]) == (name == 'mae')
    if name == 'mocov3':  # the same crops, twice
        assert pipelines[1][1]['transforms'][0][0] == pipelines[0][1]


def test_two_views_differ_and_are_keyed(tmp_path):
    cfg = load('baselines/mocov3').train_dataloader.dataset
    cfg.dataset.update(data_root='', data_prefix=str(write_images(tmp_path, 4)))
    dataset = DATASETS.build(cfg)

    def views(epoch):
        dataset.set_epoch(epoch)
        return torch.stack(dataset[1]['inputs'])

    first = views(0)
    assert first.shape == (2, 3, 24, 24)
    assert not torch.equal(first[0], first[1])
    assert torch.equal(first, views(0))
    later = views(1)
    assert not torch.equal(first[0], later[0])
    assert not torch.equal(first[1], later[1])


@pytest.fixture(params=NAMES)
def trained(request, tmp_path, monkeypatch):
    """Name, checkpoint and config of an epoch on a few images, with kNN."""
    monkeypatch.chdir(tmp_path)
    images = write_images(tmp_path / 'images', 16)
    roots = dict(data_root='', data_prefix=str(images))
    cfg = load(f'baselines/{request.param}')
    cfg.train_dataloader.dataset.dataset.update(roots)
    cfg.train_dataloader.batch_size = 8
    hook = cfg.custom_hooks[0]
    hook.update(interval=1, k=3)
    for loader in (hook.bank, hook.query):
        loader.dataset.update(roots)
    cfg.train_cfg.max_epochs = 2
    cfg.param_scheduler[1].update(T_max=1, end=2)
    cfg.default_hooks.checkpoint.interval = 1
    cfg.dump('config.py')
    run_tool('train', 'config.py', '--work-dir', 'run')
    return request.param, tmp_path / 'run' / 'epoch_2.pth', cfg


def test_trains_measures_and_exports(trained, tmp_path, monkeypatch):
    monkeypatch.setattr('sys.executable', EXECUTABLE)
    name, path, cfg = trained
    logged = json.loads(
        next(tmp_path.glob('run/*/vis_data/scalars.json')).read_text().splitlines()[-1]
    )
    assert evaluate_config(cfg, path)['knn_last'] == pytest.approx(logged['knn_last'])
    state = load_checkpoint(path)['state_dict']
    assert any(key.startswith(EMA) for key in state) == (name == 'mocov3')

    subject = read_subject(path)
    assert (subject.method, subject.encoder) == (NAMES[name], 'context')
    assert (subject.arch, subject.class_token, subject.epoch) == ('digits', True, 2)
    assert not subject.finished

    run_tool('export_backbone', path, 'backbone.pth')
    exported = read_subject('backbone.pth')
    assert exported.method == NAMES[name] and exported.encoder == 'context'
    vit = VisionTransformer(
        arch=cfg.model.backbone.arch, img_size=24, patch_size=4, out_type='raw'
    )
    vit.eval()
    vit.load_state_dict(load_checkpoint('backbone.pth')['state_dict'], strict=True)
    model = MODELS.build(cfg.model)
    model.load_state_dict(state)
    model.eval()
    model.backbone.out_type = 'raw'
    inputs = torch.randn(2, 3, 24, 24)
    with torch.no_grad():
        mask = dict(mask=None) if name == 'mae' else {}
        assert torch.equal(vit(inputs)[0], model.backbone(inputs, **mask)[0])

    # by the command of all methods; one file of each kind will do
    file = path if name == 'mae' else 'backbone.pth'
    options = [
        f'knn.custom_hooks.0.{loader}.dataset.{setting}'
        for loader in ('bank', 'query')
        for setting in (f'data_prefix={tmp_path / "images"}', 'data_root=')
    ]
    arguments = ['--tasks', 'knn', '--out', 'table', '--cfg-options']
    run_tool('evaluate', file, *arguments, 'knn.custom_hooks.0.k=3', *options)
    table = json.loads((tmp_path / 'table' / 'table.json').read_text())
    assert table['rows'][0]['mean'] == pytest.approx(logged['knn_last'])
    text = (tmp_path / 'table' / 'table.md').read_text()
    words = dict(mae='MAE', mocov3='MoCo v3')[name]
    assert f'{words}, the ViT of DigitScenes at 24 px, trained encoder' in text


def test_weights_of_timm_come_through_mmpretrains_converter(tmp_path, monkeypatch):
    """The way of DINO's and iBOT's weights, which have timm's names."""
    torch.manual_seed(0)
    theirs = timm.models.VisionTransformer(
        img_size=24, patch_size=4, embed_dim=96, depth=4, num_heads=3, mlp_ratio=2.0,
        num_classes=0,
    ).eval()  # fmt: skip
    torch.save(theirs.state_dict(), tmp_path / 'timm.pth')
    out = tmp_path / 'converted.pth'
    monkeypatch.setattr('sys.argv', ['', str(tmp_path / 'timm.pth'), str(out)])
    runpy.run_path(str(CONVERTER), run_name='__main__')
    subject = read_subject(out)
    assert (subject.method, subject.arch) == (None, 'digits')
    cfg = load('dseq').model.backbone
    ours = VisionTransformer(arch=cfg.arch, img_size=24, patch_size=4, out_type='raw')
    load_backbone(ours, out)
    ours.eval()
    images = torch.randn(2, 3, 24, 24)
    with torch.no_grad():
        difference = ours(images)[0] - theirs.forward_features(images)
    assert difference.abs().max() < 1e-5


def test_mmpretrains_own_config_trains(tmp_path, monkeypatch):
    # its optimizer wrapper wants a GPU, and does as well without one
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    monkeypatch.chdir(tmp_path)
    imagenet('imagenet', count=4)
    options = [
        'train_dataloader.dataset.data_root=imagenet',
        'train_dataloader.dataset.pipeline.1.scale=32',
        'train_dataloader.batch_size=2',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'model.backbone.arch=deit-tiny',
        'model.backbone.img_size=32',
        'model.neck.num_patches=4',
        'model.neck.embed_dim=192',
        'model.neck.decoder_depth=1',
        'train_cfg.max_epochs=1',
        'param_scheduler.0.end=1',
        'param_scheduler.1.begin=0',
    ]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        run_tool('train', STOCK_MAE, '--cfg-options', *options)
    (path,) = tmp_path.glob('work_dirs/mae_vit-base-p16_8xb512*/epoch_1.pth')
    assert 'backbone.layers.11.ln2.weight' in load_checkpoint(path)['state_dict']
