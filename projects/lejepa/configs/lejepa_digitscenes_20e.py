# LeJEPA with the ViT of DigitScenes, 20 epochs: two global views and four local ones.
_base_ = [
    '../../../configs/_base_/models/digits_vit.py',
    '../../../configs/_base_/datasets/digitscenes_24.py',
    '../../../configs/_base_/schedules/jepa_digitscenes_20e.py',
    '../../../configs/_base_/default_runtime.py',
]
custom_imports = dict(imports=['dseq_mm', 'dseq_mm.projects.lejepa'])
digits = _base_.digits_vit
model = dict(
    type='LeJEPA',
    data_preprocessor=dict(
        type='SelfSupDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    backbone=dict(
        type='JEPAViT',
        arch={name: digits.arch[name] for name in digits.arch if name != '_delete_'},
        img_size=digits.img_size,
        patch_size=digits.patch_size,
        init_std=digits.init_std,
        patch_init_std=digits.patch_init_std,
        out_type='avg_featmap',
    ),
    projector=(256, 256, 32),
    slices=256,
)

# crops, brightness and contrast; no flips, since digits are not symmetric, and no
# changes of color, since they have none
jitter = dict(type='ColorJitter', brightness=0.4, contrast=0.4)
train_pipeline = _base_.train_pipeline
crop = train_pipeline[1]
local = dict(crop, scale=16, crop_ratio_range=(0.15, 0.4))
train_pipeline[1] = dict(
    type='MultiView', num_views=[2, 4], transforms=[[crop, jitter], [local, jitter]]
)
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
optim_wrapper = dict(optimizer=dict(weight_decay=0.05))
param_scheduler = _base_.param_scheduler[:2]  # the decay stays as it is
del digits, jitter, crop, local
