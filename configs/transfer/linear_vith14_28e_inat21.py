# Linear probe of ViT-H/14 on iNaturalist 2021, as on ImageNet.
_base_ = 'linear_vith14_28e_imagenet.py'
model = dict(head=dict(num_classes=10000))
data_preprocessor = dict(num_classes=10000)
inat21 = dict(_delete_=True, type='ImageFolder', data_root='data/inat21')
train_pipeline = _base_.train_dataloader.dataset.pipeline
train_dataloader = dict(
    dataset=dict(data_prefix='train', pipeline=train_pipeline, **inat21)
)
test_pipeline = _base_.val_dataloader.dataset.pipeline
val_dataloader = dict(dataset=dict(data_prefix='val', pipeline=test_pipeline, **inat21))
test_dataloader = val_dataloader
del inat21
