# Linear probe of ViT-g/16 on ImageNet-1K.
_base_ = 'linear_vitb16_28e_imagenet.py'
model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=1408,
            num_layers=40,
            num_heads=16,
            feedforward_channels=6144,
        ),
    ),
    neck=[
        dict(type='ConcatPooling'),
        dict(type='ClsBatchNormNeck', input_features=4 * 1408),
    ],
    head=dict(in_channels=4 * 1408),
)
