# Ours, for ablations: the paper's recipe in 100 epochs, warm-up of 15 included.
_base_ = 'jepa_2048_600e.py'
train_cfg = dict(max_epochs=100)
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=15 / 100)
