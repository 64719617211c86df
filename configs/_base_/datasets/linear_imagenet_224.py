# ImageNet-1K for linear probes: short side 256, then a random crop of 224; no flip. The
# interpolation is that of the pre-training. 8 GPUs x 32.
_base_ = 'mmpretrain::_base_/datasets/imagenet_bs32_pil_bicubic.py'
train_pipeline = [
    dict(type='LoadImage'),
    dict(
        type='ResizeEdge',
        scale=256,
        edge='short',
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(
        type='RandomResizedCrop',
        scale=224,
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(type='ImageNetFolder', pipeline=train_pipeline))
test_pipeline = _base_.test_pipeline
test_pipeline[0].update(type='LoadImage')
val_dataloader = dict(dataset=dict(type='ImageNetFolder', pipeline=test_pipeline))
test_dataloader = val_dataloader
