# Linear probe (paper): frozen target encoder; average-pooled tokens of the last four
# blocks, concatenated; batch norm; linear classifier.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='DenseViT',
        arch='base',
        img_size=224,
        patch_size=16,
        out_indices=[-4, -3, -2, -1],
        norm_all=True,
        frozen=True,
        init_cfg=dict(type='StrictPretrained', checkpoint=None),
    ),
    neck=[
        dict(type='ConcatPooling'),
        dict(type='ClsBatchNormNeck', input_features=4 * 768),
    ],
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=4 * 768,
        loss=dict(type='CrossEntropyLoss'),
        topk=(1, 5),
    ),
)
