# DMT-JEPA, ViT-H/14, 224 px, 300 epochs: 16 GPUs x 128 images = 2048. On 8 GPUs give
# --cfg-options optim_wrapper.accumulative_counts=2, and never --auto-scale-lr with it,
# which ignores accumulation.
_base_ = 'dmt_vitb16_600e.py'
model = dict(backbone=dict(arch='huge', patch_size=14), neck=dict(depth=12))
train_dataloader = dict(batch_size=128)
train_cfg = dict(max_epochs=300)
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=40 / 300)
