# Fine-tuning: average-pooled patch tokens, a new norm, a linear classifier; mixup 0.8,
# cutmix 1.0, drop path 0.1 (MAE's recipe).
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='DenseViT',
        arch='base',
        img_size=224,
        patch_size=16,
        out_type='avg_featmap',
        final_norm=False,
        drop_path_rate=0.1,
        init_cfg=dict(type='StrictPretrained', checkpoint=None, allow_missing=['ln2']),
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=768,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        topk=(1, 5),
        init_cfg=dict(type='TruncNormal', layer='Linear', std=2e-5),
    ),
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]
    ),
)
