# ImageNet-1K for fine-tuning: the augmentation of mmpretrain's Swin, our reading.
_base_ = 'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py'
train_pipeline = _base_.train_pipeline
train_pipeline[0].update(type='LoadImage')
train_dataloader = dict(dataset=dict(type='ImageNetFolder', pipeline=train_pipeline))
test_pipeline = _base_.test_pipeline
test_pipeline[0].update(type='LoadImage')
val_dataloader = dict(dataset=dict(type='ImageNetFolder', pipeline=test_pipeline))
test_dataloader = val_dataloader
