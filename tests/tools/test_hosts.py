"""Training, testing and drawing with mmdet's, mmseg's and mmpretrain's parts."""

import json
from collections import OrderedDict

import cv2
import numpy as np
import pytest
import torch
from mmengine.visualization import Visualizer

from dseq_mm.transfer.checkpoint import load_checkpoint
from tests.libraries import need
from tests.transfer.conftest import ARCH, build_vit

BACKBONE = f"""
backbone = dict(
    type='DenseViT', arch={ARCH}, img_size=32, patch_size=8,
    out_indices=[0, 1, 2, 3],
    init_cfg=dict(type='StrictPretrained', checkpoint=None))
pyramid = dict(type='mmseg.Feature2Pyramid', embed_dim=32, norm_cfg=dict(type='BN'))
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3))
val_cfg = test_cfg = None
loader = dict(batch_size=2, num_workers=0)
in_order = dict(type='DefaultSampler', shuffle=False)
"""
DETECTION = """
_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py',
          'mmdet::_base_/default_runtime.py']
model = dict(
    backbone=dict(_delete_=True, **backbone),
    neck=[pyramid, dict(type='FPN', in_channels=[32] * 4, out_channels=8, num_outs=5)],
    rpn_head=dict(in_channels=8, feat_channels=8, anchor_generator=dict(scales=[2])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=8),
        mask_roi_extractor=dict(out_channels=8),
        bbox_head=dict(in_channels=8, fc_out_channels=8, num_classes=1),
        mask_head=dict(in_channels=8, conv_out_channels=8, num_convs=1, num_classes=1)),
    train_cfg=dict(rpn_proposal=dict(nms_pre=50, max_per_img=20)),
    test_cfg=dict(rpn=dict(nms_pre=50, max_per_img=20),
                  rcnn=dict(score_thr=0.0, max_per_img=5)))
load = [dict(type='LoadImageFromFile')]
truth = dict(type='LoadAnnotations', with_bbox=True, with_mask=True)
data = dict(type='CocoDataset', data_root=ROOT, ann_file='coco.json',
            data_prefix=dict(img='images'), metainfo=dict(classes=('box',)))
train_dataloader = dict(
    **loader, sampler=in_order, batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=dict(**data, pipeline=load + [truth, dict(type='PackDetInputs')]))
test_dataloader = dict(
    **loader, sampler=in_order,
    dataset=dict(**data, test_mode=True, pipeline=load + [
        dict(type='Resize', scale=(48, 32), keep_ratio=True), truth,
        dict(type='PackDetInputs')]))
test_evaluator = dict(
    type='CocoMetric', ann_file=ROOT + '/coco.json', metric=['bbox', 'segm'])
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1)
test_cfg = dict(type='TestLoop')
default_hooks = dict(visualization=dict(score_thr=0.0),
                     checkpoint=dict(save_last=True))
"""
SEGMENTATION = """
_base_ = 'mmseg::_base_/default_runtime.py'
model = dict(
    type='EncoderDecoder', backbone=backbone, neck=pyramid,
    data_preprocessor=dict(
        type='SegDataPreProcessor', mean=[127] * 3, std=[50] * 3, size=(32, 32),
        seg_pad_val=255),
    decode_head=dict(type='FCNHead', in_channels=32, in_index=2, channels=8,
                     num_classes=2),
    test_cfg=dict(mode='slide', crop_size=(32, 32), stride=(21, 21)))
load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'),
        dict(type='PackSegInputs')]
data = dict(type='BaseSegDataset', data_root=ROOT, img_suffix='.png', pipeline=load,
            data_prefix=dict(img_path='images', seg_map_path='masks'),
            metainfo=dict(classes=('no', 'yes'), palette=[[0, 0, 0], [255, 0, 0]]))
train_dataloader = dict(batch_size=6, drop_last=True, num_workers=0,
                        sampler=dict(type='InfiniteSampler'), dataset=data)
test_dataloader = dict(**loader, sampler=in_order, dataset=data)
test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
train_cfg = dict(type='IterBasedTrainLoop', max_iters=2)
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    logger=dict(type='LoggerHook', log_metric_by_epoch=False),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=2),
    visualization=dict(type='SegVisualizationHook'))
"""
CLASSIFICATION = """
_base_ = 'mmpretrain::_base_/default_runtime.py'
backbone.update(out_type='cls_token', out_indices=[3], frozen=True)
model = dict(
    type='ImageClassifier', backbone=backbone, neck=None,
    data_preprocessor=dict(num_classes=2),
    head=dict(type='LinearClsHead', in_channels=32, num_classes=2))
data = dict(type='CustomDataset', data_root=ROOT, ann_file='labels.txt',
            pipeline=[dict(type='LoadImageFromFile'),
                      dict(type='Resize', scale=(32, 32)), dict(type='PackInputs')])
train_dataloader = dict(**loader, sampler=in_order, dataset=data)
test_dataloader = dict(**loader, sampler=in_order, dataset=data)
test_evaluator = dict(type='Accuracy', topk=(1,))
train_cfg = dict(by_epoch=True, max_epochs=1)
test_cfg = dict()
default_hooks = dict(checkpoint=dict(save_last=True))
"""
TASKS = dict(mmdet=DETECTION, mmseg=SEGMENTATION, mmpretrain=CLASSIFICATION)
METRIC = dict(mmdet='coco/segm_mAP', mmseg='mIoU', mmpretrain='accuracy/top1')
LAST = dict(mmdet='epoch_1.pth', mmseg='iter_2.pth', mmpretrain='epoch_1.pth')
PICTURES = dict(mmdet='*.png', mmseg='vis_data/vis_image/*.png', mmpretrain='*.png')


def write_data(root):
    """Four images with one box each, as COCO, as masks and as two classes."""
    images, annotations, labels = [], [], []
    for name in ('images', 'masks'):
        (root / name).mkdir()
    random = np.random.RandomState(0)
    for index in range(4):
        file = f'{index}.png'
        pixels = random.randint(0, 100, (32, 48, 3)).astype(np.uint8)
        mask = np.zeros((32, 48), np.uint8)
        x, y, size = 4 + 6 * index, 6, 14
        mask[y : y + size, x : x + size] = 1
        pixels[mask > 0] += 120
        cv2.imwrite(str(root / 'images' / file), pixels)
        cv2.imwrite(str(root / 'masks' / file), mask)
        images.append(dict(id=index, file_name=file, height=32, width=48))
        corners = [x, y, x + size, y, x + size, y + size, x, y + size]
        annotations.append(
            dict(
                id=index + 1, image_id=index, category_id=1, iscrowd=0,
                area=size * size, bbox=[x, y, size, size], segmentation=[corners],
            )
        )  # fmt: skip
        labels.append(f'images/{file} {index % 2}')
    coco = dict(
        images=images, annotations=annotations, categories=[dict(id=1, name='box')]
    )
    (root / 'coco.json').write_text(json.dumps(coco))
    (root / 'labels.txt').write_text('\n'.join(labels))


@pytest.fixture(params=TASKS)
def task(request, tmp_path, monkeypatch):
    """Library and config of a task on four images."""
    need(request.param)
    need('mmseg')  # of the neck
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('DISPLAY', raising=False)
    write_data(tmp_path)
    fresh_visualizers()
    config = tmp_path / f'{request.param}.py'
    base, _, rest = TASKS[request.param].partition('\nmodel')
    config.write_text(f'ROOT = {str(tmp_path)!r}\n{BACKBONE}{base}\nmodel{rest}')
    return request.param, config


def fresh_visualizers():
    """What a new process would start with."""
    classes = [Visualizer]
    while classes:
        known = classes.pop()
        known._instance_dict = OrderedDict()
        classes += known.__subclasses__()


def test_trains_resumes_tests_and_draws(task, load_tool, tmp_path):
    library, config = task
    class_token = library == 'mmdet'  # the others are fitted to a file without one
    source = build_vit(seed=1, with_cls_token=class_token)
    torch.save(source.state_dict(), 'backbone.pth')
    work, out, pictures = (tmp_path / name for name in ('work', 'm/m.json', 'shown'))
    train = [str(config), '--checkpoint', 'backbone.pth', '--work-dir', str(work)]
    load_tool('train').main(train)

    trained = work / LAST[library]
    state = load_checkpoint(trained)['state_dict']
    assert ('backbone.cls_token' in state) == class_token
    weight = 'layers.0.ffn.layers.0.0.weight'
    loaded, start = state[f'backbone.{weight}'], source.state_dict()[weight]
    assert (loaded - start).abs().max() < 3e-3  # two steps at a rate of 1e-3
    assert torch.equal(loaded, start) == (library == 'mmpretrain')  # frozen there

    # a finished run is left as it is
    before = trained.read_bytes()
    fresh_visualizers()
    load_tool('train').main([*train, '--resume'])
    assert trained.read_bytes() == before

    fresh_visualizers()
    test = [str(config), str(trained), '--work-dir', str(tmp_path / 'tested')]
    load_tool('test').main([*test, '--out', str(out), '--show-dir', str(pictures)])
    metrics = json.loads(out.read_text())
    assert isinstance(metrics[METRIC[library]], int | float)
    drawn = sorted(pictures.glob(PICTURES[library]))
    assert len(drawn) == 4
    assert all(cv2.imread(str(path)).std() > 1 for path in drawn)


def test_a_backbone_is_not_tested_as_a_model(task, load_tool):
    _, config = task
    torch.save(build_vit().state_dict(), 'backbone.pth')
    with pytest.raises(ValueError, match='Train it first: tools/train.py'):
        load_tool('test').main([str(config), 'backbone.pth'])
