# I-JEPA's own recipe for ViT-g/16 on ImageNet-22K: 44 epochs, 3 of warm-up from 2e-4;
# global batch 2048, here 8 GPUs x 16 images x 16 accumulated.
_base_ = 'jepa_2048_600e.py'
train_cfg = dict(max_epochs=44)
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(start_factor=0.2, end=3 / 44)
optim_wrapper = dict(accumulative_counts=16)
auto_scale_lr = dict(base_batch_size=128)  # the rule ignores accumulation
