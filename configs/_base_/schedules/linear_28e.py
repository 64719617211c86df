# Linear probe (paper): 28 epochs of SGD, rate 0.01 per 256 images, x0.1 at 8, 16, 24.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4),
)
param_scheduler = dict(
    type='StepSchedule',
    param_name='lr',
    milestones=[8 / 28, 16 / 28, 24 / 28],  # shares of the training
    gamma=0.1,
)
train_cfg = dict(type='ResumableTrainLoop', max_epochs=28, val_interval=1)
val_cfg = dict()
test_cfg = dict()

# 8 GPUs x 32 images
auto_scale_lr = dict(base_batch_size=256)
