# MoCo v3 on DigitScenes: algorithm and recipe of mmpretrain; network, epochs, batch and
# learning rate of dseq_digitscenes_20e.py, narrow projections, and two views by crops,
# brightness and contrast. No flips, since digits are not symmetric, and no changes of
# color, since they have none.
_base_ = [
    '../_base_/datasets/digitscenes_24.py',
    '../_base_/schedules/jepa_digitscenes_20e.py',
    '../_base_/default_runtime.py',
]
temperature = 0.2
projection = dict(
    type='NonLinearNeck',
    hid_channels=256,
    out_channels=64,
    with_bias=False,
    with_last_bn=True,
    with_last_bn_affine=False,
    with_last_bias=False,
    with_avg_pool=False,
    norm_cfg=dict(type='BN1d'),  # one process; mmpretrain has SyncBN for several
)
model = dict(
    type='MoCoV3',
    base_momentum=0.01,
    data_preprocessor=dict(
        type='SelfSupDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    backbone=dict(
        type='MoCoV3ViT',
        arch=dict(embed_dims=96, num_layers=4, num_heads=3, feedforward_channels=192),
        img_size=24,
        patch_size=4,
        stop_grad_conv1=True,
    ),
    neck=dict(in_channels=96, num_layers=3, **projection),
    head=dict(
        type='MoCoV3Head',
        predictor=dict(in_channels=64, num_layers=2, **projection),
        loss=dict(type='CrossEntropyLoss', loss_weight=2 * temperature),
        temperature=temperature,
    ),
)
view = [
    _base_.train_pipeline[1],
    dict(type='ColorJitter', brightness=0.4, contrast=0.4),
]
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='MultiView', num_views=[2], transforms=[view]),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
optim_wrapper = dict(
    optimizer=dict(weight_decay=0.1),
    paramwise_cfg=dict(bias_decay_mult=1.0, flat_decay_mult=1.0),  # all decay
)
find_unused_parameters = True  # it fixes its positions only when it is initialized
param_scheduler = _base_.param_scheduler[:2]  # the decay stays as it is
default_hooks = dict(  # MoCo v3 updates its momentum encoder itself
    _delete_=True,
    **{
        name: hook
        for name, hook in _base_.default_hooks.items()
        if name != 'target_encoder'
    },
)
