# LeJEPA with the ViT of DigitScenes, 20 epochs: four equal views, weight and width of
# the embedding as in its released minimal example.
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
    num_global=4,
    weight=0.02,
    projector=(256, 256, 16),
    slices=256,
)

# crops, brightness and contrast; no flips, since digits are not symmetric, and no
# changes of color, since they have none
train_pipeline = _base_.train_pipeline
jitter = dict(type='ColorJitter', brightness=0.4, contrast=0.4)
train_pipeline[1] = dict(
    type='MultiView', num_views=[4], transforms=[[train_pipeline[1], jitter]]
)
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
optim_wrapper = dict(optimizer=dict(weight_decay=0.05))
param_scheduler = _base_.param_scheduler[:2]  # the decay stays as it is
del digits, jitter
