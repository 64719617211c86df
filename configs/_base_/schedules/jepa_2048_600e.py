# The paper's pre-training recipe: global batch 2048, 600 epochs. All schedules are
# functions of the share of the training that is done.
optim_wrapper = dict(
    type='GuardedOptimWrapper',
    constructor='JEPAOptimWrapperConstructor',
    dtype='bfloat16',
    optimizer=dict(
        type='AdamW', lr=1e-3, betas=(0.9, 0.999), weight_decay=0.04, fused=True
    ),
    # no decay on biases and norms (all one-dimensional parameters)
    paramwise_cfg=dict(bias_decay_mult=0.0, flat_decay_mult=0.0),
)

# Fractions are shares of the training: the schedules follow max_epochs.
param_scheduler = [
    # 1e-4 -> 1e-3 in 15 of 600 epochs
    dict(type='LinearSchedule', param_name='lr', start_factor=0.1, end=15 / 600),
    # 1e-3 -> 1e-6 in the rest
    dict(type='CosineSchedule', param_name='lr', eta_min=1e-6),
    # 0.04 -> 0.4; as a ratio, so that groups without decay stay at 0
    dict(type='CosineSchedule', param_name='weight_decay', eta_min_ratio=10.0),
]
train_cfg = dict(type='ResumableTrainLoop', max_epochs=600)

# 8 GPUs x 256 images = 2048
auto_scale_lr = dict(base_batch_size=2048)
