# MAE on DigitScenes, 27 of 36 patches hidden, the most discriminative regions first.
# Data, network, recipe and budget are those of the baseline with random masks,
# mae_digitscenes_20e.
_base_ = [
    'mmpretrain::_base_/models/mae_vit-base-p16.py',
    'dseq_mm::_base_/models/digits_vit.py',
    'dseq_mm::_base_/datasets/digitscenes_24.py',
    'dseq_mm::_base_/schedules/jepa_digitscenes_20e.py',
    'dseq_mm::_base_/default_runtime.py',
]
custom_imports = dict(imports=['dseq_mm', 'projects.mae_discriminative'])
digits = _base_.digits_vit
model = dict(
    type='DiscriminativeMAE',
    data_preprocessor=dict(
        type='SelfSupDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    backbone=dict(
        type='OrderedMAEViT',
        arch=digits.arch,
        img_size=digits.img_size,
        patch_size=digits.patch_size,
        mask_ratio=0.75,
        # a JEPAViT initializes itself after the model's init_cfg; this comes last
        init_cfg=_base_.model.init_cfg,
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
    # four regions of 7 patches and a rest of 8: all of the rest is visible
    mask_generator=dict(
        type='DiscriminativeMaskGenerator',
        saliency=dict(type='ClassTokenSimilarity', block=1),  # depth - 3
        num_regions=5,
        curriculum=dict(start=0.0, end=1.0),
    ),
    target_encoder=dict(momentum=0.99),
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
# measure what the baseline measures: it has no target encoder
custom_hooks = _base_.custom_hooks
custom_hooks[0].update(encoder='context')
del digits
