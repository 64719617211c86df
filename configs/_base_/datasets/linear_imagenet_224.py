# ImageNet-1K for linear probes: short side 256, then a random crop of 224; no flip. The
# interpolation is that of the pre-training. 8 GPUs x 32.
_base_ = 'mmpretrain::_base_/datasets/imagenet_bs32_pil_bicubic.py'
train_pipeline = [
    dict(type='LoadImageFromFile'),
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
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
