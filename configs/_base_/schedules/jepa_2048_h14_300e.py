# I-JEPA's own recipe for ViT-H/14: 300 epochs, 40 of warm-up from 2e-4, the rest as
# everywhere; global batch 2048, here 8 GPUs x 128 images x 2 accumulated.
_base_ = 'jepa_2048_600e.py'
train_cfg = dict(max_epochs=300)
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(start_factor=0.2, end=40 / 300)
optim_wrapper = dict(accumulative_counts=2)
auto_scale_lr = dict(base_batch_size=1024)  # the rule ignores accumulation
