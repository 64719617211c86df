# MAE on DigitScenes: algorithm and recipe of mmpretrain (masks 0.75 of the patches, no
# decay on norms, biases and tokens); network, crops, epochs, batch and learning rate of
# dseq_digitscenes_20e.py, and a decoder as small as its predictor.
_base_ = [
    'mmpretrain::_base_/models/mae_vit-base-p16.py',
    '../_base_/models/digits_vit.py',
    '../_base_/datasets/digitscenes_24.py',
    '../_base_/schedules/jepa_digitscenes_20e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=dict(
        type='SelfSupDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    backbone=dict(
        arch=_base_.digits_vit.arch,
        img_size=_base_.digits_vit.img_size,
        patch_size=_base_.digits_vit.patch_size,
        init_cfg=_base_.model.init_cfg,  # also where the backbone is built alone
    ),
    neck=dict(
        num_patches=36,
        patch_size=4,
        embed_dim=96,
        decoder_embed_dim=64,
        decoder_depth=2,
        decoder_num_heads=4,
        mlp_ratio=2.0,
    ),
    head=dict(patch_size=4),
)
optim_wrapper = dict(
    optimizer=dict(betas=(0.9, 0.95), weight_decay=0.05),
    paramwise_cfg=dict(
        custom_keys={
            'cls_token': dict(decay_mult=0.0),
            'mask_token': dict(decay_mult=0.0),
        }
    ),
)
param_scheduler = _base_.param_scheduler[:2]  # the decay stays as it is
default_hooks = dict(  # MAE has no target encoder
    _delete_=True,
    **{
        name: hook
        for name, hook in _base_.default_hooks.items()
        if name != 'target_encoder'
    },
)
