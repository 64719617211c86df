# Linear probe of ViT-L/16 on ImageNet-1K.
_base_ = 'linear_vitb16_28e_imagenet.py'
model = dict(
    backbone=dict(arch='large'),
    neck=[
        dict(type='ConcatPooling'),
        dict(type='ClsBatchNormNeck', input_features=4 * 1024),
    ],
    head=dict(in_channels=4 * 1024),
)
