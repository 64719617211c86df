# The paper's recipe for ViT-H/16: 300 epochs, global batch 2048 by accumulation, since
# 256 images of 784 patches do not fit one GPU.
_base_ = 'jepa_2048_600e.py'
train_cfg = dict(max_epochs=300)
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=15 / 300)
optim_wrapper = dict(accumulative_counts=4)

# 8 GPUs x 64 images x 4 accumulated = 2048; lr is for 2048 images per update, and the
# scaling rule, which ignores accumulation, sees 8 x 64 = 512 per iteration
auto_scale_lr = dict(base_batch_size=512)
