# All images of ImageNet-22K, without labels; kNN on ImageNet-1K.
_base_ = 'imagenet_224.py'
train_dataloader = _base_.train_dataloader
train_dataloader.update(batch_size=16)
train_dataloader.dataset.dataset = dict(
    type='OwnImages', sources='data/imagenet22k', pipeline=_base_.train_pipeline
)
