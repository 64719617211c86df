# UPerNet with ViT-B/16 on ADE20K (paper): blocks 3, 5, 7, 11; 160k iterations; crops of
# 512; slide inference; auxiliary FCN head on the third map. 8 GPUs x 2 images.
# The bases are named by path because `mmseg::` is not found under all distributions.
_base_ = [
    __import__('mmseg').__path__[0] + '/.mim/configs/_base_/models/upernet_mae.py',
    __import__('mmseg').__path__[0] + '/.mim/configs/_base_/datasets/ade20k.py',
    __import__('mmseg').__path__[0] + '/.mim/configs/_base_/default_runtime.py',
    __import__('mmseg').__path__[0] + '/.mim/configs/_base_/schedules/schedule_160k.py',
]
custom_imports = dict(imports=['dseq_mm'], allow_failed_imports=False)

crop_size = (512, 512)
data_preprocessor = dict(size=crop_size)
model = dict(
    data_preprocessor=data_preprocessor,
    backbone=dict(
        _delete_=True,
        type='DenseViT',
        arch='base',
        img_size=224,
        patch_size=16,
        out_indices=[3, 5, 7, 11],
        drop_path_rate=0.1,
        init_cfg=dict(type='StrictPretrained', checkpoint=None),
    ),
    neck=dict(embed_dim=768),
    decode_head=dict(in_channels=[768] * 4, channels=768, num_classes=150),
    auxiliary_head=dict(in_channels=768, num_classes=150),
    test_cfg=dict(mode='slide', crop_size=crop_size, stride=(341, 341)),
)
train_dataloader = _base_.train_dataloader
train_dataloader.update(batch_size=2)
train_dataloader.dataset.pipeline[0].update(type='LoadImage')
val_dataloader = _base_.val_dataloader
val_dataloader.dataset.pipeline[0].update(type='LoadImage')
# test_dataloader keeps mmseg's loader, which its inferencer looks for by name

optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    # no decay on biases and norms, as in the pre-training (ours: not given)
    paramwise_cfg=dict(bias_decay_mult=0.0, norm_decay_mult=0.0),
)
param_scheduler = [
    dict(
        type='mmpretrain.LinearSchedule',
        param_name='lr',
        start_factor=1e-6,
        by_epoch=False,
        end=1500,
    ),
    dict(
        type='mmpretrain.PolySchedule',
        param_name='lr',
        eta_min=0.0,
        power=1.0,
        by_epoch=False,
    ),
]
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
