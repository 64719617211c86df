# BYOL with the ViT of DigitScenes, 20 epochs; the kNN hook measures the EMA backbone.
_base_ = [
    '../../../configs/_base_/models/digits_vit.py',
    '../../../configs/_base_/datasets/digitscenes_24.py',
    '../../../configs/_base_/schedules/jepa_digitscenes_20e.py',
    '../../../configs/_base_/default_runtime.py',
]
custom_imports = dict(imports=['dseq_mm', 'dseq_mm.projects.byol_target_encoder'])
digits = _base_.digits_vit
mlp = dict(
    type='NonLinearNeck',
    hid_channels=256,
    out_channels=64,
    with_last_bn=False,
    with_avg_pool=False,
    norm_cfg=dict(type='BN1d'),
)
model = dict(
    type='BYOLWithTargetEncoder',
    data_preprocessor=dict(
        type='SelfSupDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    backbone=dict(
        type='VisionTransformer',
        arch={name: digits.arch[name] for name in digits.arch if name != '_delete_'},
        img_size=digits.img_size,
        patch_size=digits.patch_size,
        out_type='avg_featmap',
    ),
    neck=dict(in_channels=96, **mlp),
    head=dict(
        type='LatentPredictHead',
        predictor=dict(in_channels=64, **mlp),
        loss=dict(type='CosineSimilarityLoss'),
    ),
    target_encoder=dict(momentum=0.99),
)

# two views of each image: the crop of the data set, and brightness; no flips, since
# digits are not symmetric
train_pipeline = _base_.train_pipeline
train_pipeline[1] = dict(
    type='MultiView',
    num_views=2,
    transforms=[[train_pipeline[1], dict(type='ColorJitter', brightness=0.4)]],
)
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
del digits, mlp
