# Small budget: 20 epochs, batch 64, float32. Shape of the schedules as in the paper.
_base_ = 'jepa_2048_600e.py'
optim_wrapper = dict(dtype=None)
train_cfg = dict(max_epochs=20)
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=1 / 20)
auto_scale_lr = dict(base_batch_size=64)
