# The paper's pre-training recipe: global batch 2048, 600 epochs. All
# schedules run per iteration and are restored on resume.
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

param_scheduler = [
    dict(  # 1e-4 -> 1e-3
        type='LinearLR',
        start_factor=0.1,
        by_epoch=True,
        begin=0,
        end=15,
        convert_to_iter_based=True,
    ),
    dict(  # 1e-3 -> 1e-6
        type='CosineAnnealingLR',
        eta_min=1e-6,
        T_max=585,
        by_epoch=True,
        begin=15,
        end=600,
        convert_to_iter_based=True,
    ),
    dict(  # 0.04 -> 0.4; as a ratio, so that groups without decay stay at 0
        type='CosineAnnealingParamScheduler',
        param_name='weight_decay',
        eta_min_ratio=10.0,
        T_max=600,
        by_epoch=True,
        begin=0,
        end=600,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=600)

# 8 GPUs x 256 images = 2048
auto_scale_lr = dict(base_batch_size=2048)
