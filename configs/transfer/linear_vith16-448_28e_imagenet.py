# Linear probe of ViT-H/16 at 448 px on ImageNet-1K: the crops of 224 px, doubled.
_base_ = 'linear_vitb16_28e_imagenet.py'
model = dict(
    backbone=dict(arch='huge', img_size=448),
    neck=[
        dict(type='ConcatPooling'),
        dict(type='ClsBatchNormNeck', input_features=4 * 1280),
    ],
    head=dict(in_channels=4 * 1280),
)
train_dataloader = _base_.train_dataloader
train_dataloader.dataset.pipeline[1].update(scale=512)
train_dataloader.dataset.pipeline[2].update(scale=448)
val_dataloader = _base_.val_dataloader
val_dataloader.dataset.pipeline[1].update(scale=512)
val_dataloader.dataset.pipeline[2].update(crop_size=448)
test_dataloader = val_dataloader
