# MAE on DigitScenes, 27 of 36 patches hidden, the most discriminative regions first.
# All else is as in the baseline with random masks, mae_digitscenes_20e.
_base_ = '../../../configs/baselines/mae_digitscenes_20e.py'
custom_imports = dict(imports=['dseq_mm', 'dseq_mm.projects.mae_discriminative'])
model = dict(
    type='DiscriminativeMAE',
    # a JEPAViT initializes itself after the model's init_cfg; the backbone's comes last
    backbone=dict(type='OrderedMAEViT'),
    # four regions of 7 patches and a rest of 8: all of the rest is visible
    mask_generator=dict(
        type='DiscriminativeMaskGenerator',
        saliency=dict(type='ClassTokenSimilarity', block=1),  # depth - 3
        num_regions=5,
        curriculum=dict(start=0.0, end=1.0),
    ),
    target_encoder=dict(momentum=0.99),
)
default_hooks = dict(target_encoder=dict(type='TargetEncoderHook'))
# measure what the baseline measures: it has no target encoder
custom_hooks = _base_.custom_hooks
custom_hooks[0].update(encoder='context')
