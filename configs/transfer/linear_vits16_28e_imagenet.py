# Linear probe of ViT-S/16 on ImageNet-1K (ours: the paper has no ViT-S).
_base_ = 'linear_vitb16_28e_imagenet.py'
model = dict(
    backbone=dict(arch='deit-small'),
    neck=[
        dict(type='ConcatPooling'),
        dict(type='ClsBatchNormNeck', input_features=4 * 384),
    ],
    head=dict(in_channels=4 * 384),
)
