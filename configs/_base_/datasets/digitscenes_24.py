# DigitScenes, 24 px view (tools/make_digitscenes.py data/digitscenes).
data_root = 'data/digitscenes/'

train_pipeline = [
    dict(type='LoadImage'),
    dict(
        type='RandomResizedCrop',
        scale=24,
        crop_ratio_range=(0.3, 1.0),
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    drop_last=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='KeyedDataset',
        dataset=dict(
            type='ImageFolder',
            data_root=data_root,
            data_prefix='digits/train',
            pipeline=train_pipeline,
        ),
    ),
)

eval_pipeline = [
    dict(type='LoadImage'),
    dict(  # for images of one's own; digits have 24 px and stay as they are
        type='ResizeEdge',
        scale=24,
        edge='short',
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='CenterCrop', crop_size=24),
    dict(type='PackInputs'),
]
eval_dataloader = dict(
    batch_size=250,
    num_workers=0,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
custom_hooks = [
    dict(
        type='KNNHook',
        interval=10,
        bank=dict(
            dataset=dict(
                type='ImageFolder',
                data_root=data_root,
                data_prefix='digits/train',
                pipeline=eval_pipeline,
            ),
            **eval_dataloader,
        ),
        query=dict(
            dataset=dict(
                type='ImageFolder',
                data_root=data_root,
                data_prefix='digits/val',
                pipeline=eval_pipeline,
            ),
            **eval_dataloader,
        ),
    )
]
