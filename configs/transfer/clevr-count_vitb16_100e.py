# Clevr/Count of ViT-B/16: how many objects (8 classes). VTAB-1k's 800 / 200 / 15,000
# images, frozen encoder, class token of the final block, linear classifier (paper).
_base_ = '../_base_/transfer_runtime.py'
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='DenseViT',
        arch='base',
        img_size=224,
        patch_size=16,
        out_type='cls_token',
        frozen=True,
        init_cfg=dict(type='StrictPretrained', checkpoint=None),
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=8,
        in_channels=768,
        loss=dict(type='CrossEntropyLoss'),
    ),
)
data_preprocessor = dict(
    num_classes=8,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
pipeline = [
    dict(type='LoadImage'),
    dict(type='Resize', scale=(224, 224), backend='pillow', interpolation='bicubic'),
    dict(type='PackInputs'),
]
clevr = dict(type='CLEVR', data_root='data/CLEVR_v1.0', task='count', pipeline=pipeline)
loader = dict(batch_size=256, num_workers=5)
train_dataloader = dict(
    dataset=dict(split='train', **clevr),
    sampler=dict(type='DefaultSampler', shuffle=True),
    **loader,
)
val_dataloader = dict(
    dataset=dict(split='val', **clevr),
    sampler=dict(type='DefaultSampler', shuffle=False),
    **loader,
)
test_dataloader = dict(
    dataset=dict(split='test', **clevr),
    sampler=dict(type='DefaultSampler', shuffle=False),
    **loader,
)
del clevr, loader
val_evaluator = dict(type='Accuracy', topk=1)
test_evaluator = val_evaluator

optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05)
)
param_scheduler = dict(type='CosineSchedule', param_name='lr', eta_min=0.0)
train_cfg = dict(type='ResumableTrainLoop', max_epochs=100, val_interval=10)
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(logger=dict(interval=4))  # 4 iterations make an epoch

auto_scale_lr = dict(base_batch_size=256)
