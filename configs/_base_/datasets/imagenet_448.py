# ImageNet-1K at 448 px, 64 images per GPU.
_base_ = 'imagenet_224.py'
train_dataloader = _base_.train_dataloader
train_dataloader.update(batch_size=64)
train_dataloader.dataset.dataset.pipeline[1].update(scale=448)
custom_hooks = _base_.custom_hooks
for loader in (custom_hooks[0].bank, custom_hooks[0].query):
    loader.update(batch_size=64)
    loader.dataset.pipeline[1].update(scale=512)
    loader.dataset.pipeline[2].update(crop_size=448)
del loader
