# Linear probe of ViT-H/14 on ImageNet-1K.
_base_ = 'linear_vitb16_28e_imagenet.py'
model = dict(
    backbone=dict(arch='huge', patch_size=14),
    neck=[
        dict(type='ConcatPooling'),
        dict(type='ClsBatchNormNeck', input_features=4 * 1280),
    ],
    head=dict(in_channels=4 * 1280),
)
