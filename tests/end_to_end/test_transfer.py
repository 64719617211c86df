"""The transfer configs train a step and are evaluated on data in the real layouts."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from dseq_mm.models import DenseViT
from tests.data import folders
from tests.end_to_end import miniature
from tests.end_to_end.runs import CONFIGS
from tests.libraries import need

ARCH = dict(embed_dims=24, num_layers=12, num_heads=2, feedforward_channels=48)


@pytest.fixture
def backbone(tmp_path):
    """Path of an exported backbone of 12 narrow blocks."""
    torch.manual_seed(3)
    module = DenseViT(arch=ARCH)
    module.init_weights()
    path = tmp_path / 'backbone.pth'
    torch.save(dict(state_dict=module.state_dict()), path)
    return path


def load(name, tmp_path, backbone):
    """A shipped config with a narrow backbone, one worker-less epoch or two steps."""
    cfg = Config.fromfile(CONFIGS / 'transfer' / f'{name}.py')
    cfg.model.backbone.arch = ARCH
    cfg.model.backbone.init_cfg.checkpoint = str(backbone)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
    cfg.work_dir = str(tmp_path / 'work')
    cfg.log_level = 'ERROR'
    cfg.experiment_name = f'{name}_{tmp_path.name}'
    cfg.default_hooks.logger.interval = 1
    return cfg


def set_root(cfg, root):
    """Point all data sets to a folder."""
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(root)


def metrics_of(cfg):
    """Metrics of the last validation, from the run's own log."""
    log = next(Path(cfg.work_dir).glob('*/vis_data'))
    lines = (log / 'scalars.json').read_text().splitlines()
    return [json.loads(line) for line in lines]


def run(cfg):
    """Train and return the runner and the scalars it logged."""
    runner = Runner.from_cfg(cfg)
    runner.train()
    scalars = metrics_of(cfg)
    losses = [line['loss'] for line in scalars if 'loss' in line]
    assert losses and all(math.isfinite(loss) for loss in losses)
    return runner, scalars


def test_mask_rcnn_on_coco(tmp_path, backbone):
    datasets = need('mmdet').datasets
    root = tmp_path / 'coco'
    miniature.coco(root, datasets.CocoDataset.METAINFO['classes'])
    cfg = load('mask-rcnn_vitb16_25e_coco', tmp_path, backbone)
    set_root(cfg, root)
    cfg.val_evaluator.ann_file = str(root / 'annotations/instances_val2017.json')
    cfg.test_evaluator = cfg.val_evaluator
    cfg.model.neck[0].embed_dim = 24
    cfg.model.neck[1].in_channels = [24] * 4
    # narrow heads: what is measured is not what they can learn
    cfg.model.neck[1].out_channels = 32
    heads = cfg.model.roi_head
    cfg.model.rpn_head.update(in_channels=32, feat_channels=32)
    for extractor in (heads.bbox_roi_extractor, heads.mask_roi_extractor):
        extractor.out_channels = 32
    heads.bbox_head.update(in_channels=32, conv_out_channels=32, fc_out_channels=64)
    heads.mask_head.update(in_channels=32, conv_out_channels=32)
    cfg.model.test_cfg.rcnn.score_thr = 0.0  # nothing is learnt in two steps
    cfg.model.test_cfg.rpn.max_per_img = 20
    # windows of 4 patches on maps of up to 6 x 6
    cfg.model.backbone.window_size = 4
    for loader, step in ((cfg.train_dataloader, 2), (cfg.val_dataloader, 1)):
        loader.dataset.pipeline[step].scale = (96, 96)
    cfg.test_dataloader = cfg.val_dataloader
    cfg.train_cfg.max_epochs = 1
    before = torch.load(backbone, weights_only=True)['state_dict']
    runner, scalars = run(cfg)
    # the image without objects is left out in training, and evaluated
    assert len(runner.train_dataloader.dataset) == 3
    assert len(runner.val_dataloader.dataset) == 3
    metrics = scalars[-1]
    assert {'coco/bbox_mAP', 'coco/segm_mAP'} <= metrics.keys()
    assert 0 <= metrics['coco/bbox_mAP'] <= 1
    trained = runner.model.backbone.state_dict()
    assert set(before) == set(trained)
    moved = {n for n in before if not torch.equal(before[n], trained[n].cpu())}
    assert moved == set(before) - {'pos_embed'}


def test_upernet_on_ade20k(tmp_path, backbone):
    need('mmseg')
    root = tmp_path / 'ADEChallengeData2016'
    # the last one is smaller than a slide window
    miniature.ade20k(root, sizes=((64, 90), (70, 64), (20, 100)))
    cfg = load('upernet_vitb16_160k_ade20k', tmp_path, backbone)
    set_root(cfg, root)
    crop = (64, 64)
    cfg.model.data_preprocessor.size = crop
    cfg.model.test_cfg.update(crop_size=crop, stride=(43, 43))
    cfg.model.neck.embed_dim = 24
    cfg.model.decode_head.update(in_channels=[24] * 4, channels=16)
    cfg.model.auxiliary_head.update(in_channels=24, channels=16)
    train = cfg.train_dataloader.dataset.pipeline
    train[2].scale, train[3].crop_size = (256, 64), crop
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        loader.batch_size = 1
        loader.dataset.pipeline[1].scale = (90, 64)
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    runner, scalars = run(cfg)
    sizes = {
        tuple(sample['inputs'].shape[1:]) for sample in runner.val_dataloader.dataset
    }
    assert any(min(size) < 64 for size in sizes)
    assert any(size[0] != size[1] for size in sizes)
    assert 0 <= scalars[-1]['mIoU'] <= 100
    assert not any(
        isinstance(part, torch.nn.SyncBatchNorm) for part in runner.model.modules()
    )


@pytest.mark.parametrize(
    'name', ['linear_vitb16_28e_imagenet', 'finetune_vitb16_50e_imagenet']
)
def test_classification_on_imagenet(name, tmp_path, backbone):
    root = tmp_path / 'imagenet'
    miniature.imagenet(root)
    cfg = load(name, tmp_path, backbone)
    set_root(cfg, root)
    width = 24 if 'finetune' in name else 4 * 24
    cfg.model.head.in_channels = width
    if 'linear' in name:
        cfg.model.neck[1].input_features = width
    cfg.train_cfg.max_epochs = 1
    cfg.param_scheduler = None
    runner, scalars = run(cfg)
    assert 0 <= scalars[-1]['accuracy/top1'] <= scalars[-1]['accuracy/top5'] <= 100
    before = torch.load(backbone, weights_only=True)['state_dict']
    trained = runner.model.backbone.state_dict()
    moved = {
        n for n in before if n in trained and not torch.equal(before[n], trained[n])
    }
    if 'linear' in name:
        assert not moved
    else:
        assert moved == {n for n in before if not n.startswith(('pos_embed', 'ln1'))}
    assert np.isfinite(runner.model.head.fc.weight.detach().numpy()).all()


@pytest.mark.parametrize('task', ['count', 'dist'])
def test_clevr(task, tmp_path, backbone):
    root = tmp_path / 'CLEVR_v1.0'
    folders.clevr(root)
    cfg = load(f'clevr-{task}_vitb16_100e', tmp_path, backbone)
    set_root(cfg, root)
    loaders = (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader)
    for loader in loaders:
        loader.dataset.complete = False
    cfg.model.head.in_channels = 24
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    runner, scalars = run(cfg)
    assert 0 <= scalars[-1]['accuracy/top1'] <= 100
    assert 0 <= runner.test()['accuracy/top1'] <= 100
    sizes = [
        len(loader.dataset)
        for loader in (
            runner.train_dataloader,
            runner.val_dataloader,
            runner.test_dataloader,
        )
    ]
    assert sizes == [18, 2, 5]
    before = torch.load(backbone, weights_only=True)['state_dict']
    trained = runner.model.backbone.state_dict()
    assert all(torch.equal(before[name], trained[name]) for name in before)
