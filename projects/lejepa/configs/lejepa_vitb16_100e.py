# LeJEPA, ViT-B/16, by the recipe of its README: two global views of 224 px and six
# local ones (98 px there, 96 here, for the patches of 16), AdamW 5e-4, decay 0.05,
# cosine to a thousandth; 100 epochs and batch 512 as in its launch files for ViT-L.
_base_ = [
    '../../../configs/_base_/datasets/imagenet_224.py',
    '../../../configs/_base_/schedules/jepa_2048_100e.py',
    '../../../configs/_base_/default_runtime.py',
]
custom_imports = dict(imports=['dseq_mm', 'dseq_mm.projects.lejepa'])
model = dict(
    type='LeJEPA',
    data_preprocessor=dict(
        type='SelfSupDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
        non_blocking=True,
    ),
    backbone=dict(
        type='JEPAViT',
        arch='base',
        img_size=224,
        patch_size=16,
        drop_path_rate=0.1,
        out_type='avg_featmap',
    ),
    projector=(2048, 2048, 512),
)

change = [
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='RandomApply',
        transforms=[
            dict(
                type='ColorJitter',
                brightness=0.4,
                contrast=0.4,
                saturation=0.2,
                hue=0.1,
            )
        ],
        prob=0.8,
    ),
    dict(type='RandomGrayscale', prob=0.2, keep_channels=True),
    dict(
        type='GaussianBlur',
        magnitude_range=(0.1, 2.0),
        magnitude_std='inf',
        prob=0.5,
    ),
    dict(type='Solarize', thr=128, prob=0.2),
]
train_pipeline = _base_.train_pipeline
crop = train_pipeline[1]
local = dict(crop, scale=96, crop_ratio_range=(0.05, 0.3))
train_pipeline[1] = dict(
    type='MultiView', num_views=[2, 6], transforms=[[crop, *change], [local, *change]]
)
train_dataloader = dict(
    batch_size=64, dataset=dict(dataset=dict(pipeline=train_pipeline))
)
optim_wrapper = dict(optimizer=dict(lr=5e-4, weight_decay=0.05))
param_scheduler = _base_.param_scheduler[:2]  # the decay stays as it is
param_scheduler[1].update(eta_min=5e-7)
auto_scale_lr = dict(base_batch_size=512)
del change, crop, local
