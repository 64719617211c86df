# NEPA (arXiv 2512.16922), ViT-B/14, 224 px, 1600 epochs: 8 GPUs x 256 images x 2
# accumulated = 4096. The recipe is that of the published code for its base model.
# Not as there: sine-cosine positions added to the input in place of RoPE and its random
# scale; queries and keys are not normalized; no class token, hence 255 predictions in
# place of 256; norms add 1e-6 to the variance in place of 1e-12. The MLP is the GELU of
# the released models, not the paper's SwiGLU. The rate warms up from 1e-4 of its peak
# in place of 0. Positions make it another model: we have not trained it on ImageNet,
# and the published figures are not its figures.
_base_ = [
    '_base_/models/jepa_vit-base-p16.py',
    '_base_/datasets/imagenet_224.py',
    '_base_/default_runtime.py',
]
model = dict(
    type='NEPA',
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(patch_size=14, with_cls_token=False, layer_scale_init_value=1e-5),
    neck=dict(_delete_=True, type='NextPatchPredictor'),
    head=dict(_delete_=True, type='LatentPredictionHead', distance='cosine'),
    # no target comes from it: the average of the weights, for evaluation
    target_encoder=dict(momentum=0.9999, end_momentum=0.9999),
)

train_pipeline = [
    dict(type='LoadImage'),
    dict(
        type='AntialiasedResizedCrop',
        scale=224,
        crop_ratio_range=(0.08, 1.0),
        interpolation='bilinear',
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))

optim_wrapper = dict(
    type='GuardedOptimWrapper',
    constructor='JEPAOptimWrapperConstructor',
    dtype='bfloat16',
    accumulative_counts=2,
    clip_grad=dict(max_norm=1.0),
    optimizer=dict(
        type='AdamW',
        lr=3e-4 * 4096 / 256,
        betas=(0.9, 0.95),
        weight_decay=0.05,
        fused=True,
    ),
    # no decay on biases, norms and layer scales (all one-dimensional parameters)
    paramwise_cfg=dict(bias_decay_mult=0.0, flat_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearSchedule', param_name='lr', start_factor=1e-4, end=40 / 1600),
    dict(type='CosineSchedule', param_name='lr', eta_min=0.0),
]
train_cfg = dict(type='ResumableTrainLoop', max_epochs=1600)

# 8 GPUs x 256 images; the scaling rule ignores accumulation
auto_scale_lr = dict(base_batch_size=2048)
