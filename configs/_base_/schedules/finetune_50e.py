# Fine-tuning (paper): MAE's recipe, 50 epochs of AdamW, cosine, batch 512. The paper
# takes I-JEPA's learning rate without its value; here it is MAE's, 5e-4 per 256 images.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05, betas=(0.9, 0.999)),
    constructor='BackboneDecayOptimWrapperConstructor',
    paramwise_cfg=dict(
        layer_decay_rate=0.65,
        bias_decay_mult=0.0,
        norm_decay_mult=0.0,
        custom_keys={'.cls_token': dict(decay_mult=0.0)},
    ),
)
param_scheduler = [
    dict(type='LinearSchedule', param_name='lr', start_factor=1e-4, end=5 / 50),
    # a ratio: an absolute end would raise the lowest layers
    dict(type='CosineSchedule', param_name='lr', eta_min_ratio=1e-3),
]
train_cfg = dict(type='ResumableTrainLoop', max_epochs=50, val_interval=1)
val_cfg = dict()
test_cfg = dict()

# 8 GPUs x 64 images
auto_scale_lr = dict(base_batch_size=512)
