# Mask R-CNN + FPN with ViT-B/16 on COCO 2017 (paper): blocks 3, 5, 7, 11 give strides
# 4, 8, 16, 32; attention windows of 14 patches in the other blocks; long side 1024; 25
# epochs; the backbone in bfloat16, neck and heads in float32. 8 GPUs x 2 images.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    'mmdet::_base_/default_runtime.py',
]
custom_imports = dict(imports=['dseq_mm'], allow_failed_imports=False)

model = dict(
    backbone=dict(
        _delete_=True,
        type='DenseViT',
        arch='base',
        img_size=224,
        patch_size=16,
        out_indices=[3, 5, 7, 11],
        window_size=14,
        drop_path_rate=0.1,
        dtype='bfloat16',
        init_cfg=dict(type='StrictPretrained', checkpoint=None),
    ),
    neck=[
        # The layer norms are ours. A ViT's maps are not normalized; without any norm
        # in the pyramid, its features grew a thousandfold in the small twin.
        dict(
            type='mmseg.Feature2Pyramid',
            embed_dim=768,
            norm_cfg=dict(type='mmpretrain.LN2d'),
        ),
        dict(
            type='FPN',
            in_channels=[768] * 4,
            out_channels=256,
            num_outs=5,
            norm_cfg=dict(type='mmpretrain.LN2d'),
        ),
    ],
)

train_dataloader = _base_.train_dataloader
train_dataloader.dataset.pipeline[0].update(type='LoadImage')
train_dataloader.dataset.pipeline[2].update(scale=(1024, 1024))
val_dataloader = _base_.val_dataloader
val_dataloader.dataset.pipeline[0].update(type='LoadImage')
val_dataloader.dataset.pipeline[1].update(scale=(1024, 1024))
# it keeps mmdet's loader, which its inferencer looks for by name
test_dataloader = _base_.test_dataloader
test_dataloader.dataset.pipeline[1].update(scale=(1024, 1024))

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.1),
    # no decay on biases and norms, as in the pre-training (ours: not given)
    paramwise_cfg=dict(bias_decay_mult=0.0, norm_decay_mult=0.0),
)
param_scheduler = [
    dict(
        type='mmpretrain.LinearSchedule', param_name='lr', start_factor=1e-3, end=1 / 25
    ),
    dict(type='mmpretrain.CosineSchedule', param_name='lr', eta_min=0.0),
]
train_cfg = dict(type='mmpretrain.ResumableTrainLoop', max_epochs=25, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    checkpoint=dict(
        type='mmpretrain.DurableCheckpointHook', max_keep_ckpts=1, save_last=True
    )
)
custom_hooks = [
    dict(type='mmpretrain.ClockHook'),  # the schedules follow the progress
    dict(type='mmpretrain.StrictCheckpointHook'),
    dict(type='mmpretrain.NonFiniteHook'),  # diverged weights are not saved
    dict(type='mmpretrain.PreemptionHook'),
    dict(type='mmpretrain.DataHook'),  # classes agree, nothing is missing
]
randomness = dict(seed=0)

auto_scale_lr = dict(base_batch_size=16)
