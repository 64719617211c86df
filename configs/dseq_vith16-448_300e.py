# DSeq-JEPA, ViT-H/16, 448 px, 300 epochs: 8 GPUs x 64 images x 4 accumulated = 2048.
_base_ = 'dseq_vitl16_600e.py'
model = dict(backbone=dict(arch='huge', img_size=448))

# the base's schedule and pipelines at 300 epochs and 448 px
train_cfg = dict(max_epochs=300)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(T_max=285, end=300)
param_scheduler[2].update(T_max=300, end=300)

train_dataloader = _base_.train_dataloader
train_dataloader.update(batch_size=64)
train_dataloader.dataset.dataset.pipeline[1].update(scale=448)
custom_hooks = _base_.custom_hooks
for loader in (custom_hooks[0].bank, custom_hooks[0].query):
    loader.update(batch_size=64)
    loader.dataset.pipeline[1].update(scale=512)
    loader.dataset.pipeline[2].update(crop_size=448)
del loader

# 256 images of 784 patches do not fit one GPU
optim_wrapper = dict(accumulative_counts=4)
activation_checkpointing = [f'backbone.layers.{block}' for block in range(32)]
# lr is for 2048 images per update; the scaling rule sees 8 x 64 = 512 per iteration
auto_scale_lr = dict(base_batch_size=512)
