# ImageNet-1K, 256 images per GPU. Only a crop, no flip, blur or color (paper).
# tools/train.py --data FOLDER puts any folder of images in place of it.
data_root = 'data/imagenet/'

train_pipeline = [
    dict(type='LoadImage'),
    dict(
        type='AntialiasedResizedCrop',
        scale=224,
        crop_ratio_range=(0.3, 1.0),
        interpolation='bilinear',
    ),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=256,
    num_workers=12,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='KeyedDataset',
        dataset=dict(
            type='ImageNetFolder',
            data_root=data_root,
            split='train',
            pipeline=train_pipeline,
        ),
    ),
)

# kNN of the target encoder every 25 epochs: bank = 10 % of train (released code)
eval_pipeline = [
    dict(type='LoadImage'),
    dict(
        type='ResizeEdge',
        scale=256,
        edge='short',
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
eval_dataloader = dict(
    batch_size=256,
    num_workers=12,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
custom_hooks = [
    dict(
        type='KNNHook',
        interval=25,
        k=20,
        temperature=0.07,
        bank_fraction=0.1,
        bank=dict(
            dataset=dict(
                type='ImageNetFolder',
                data_root=data_root,
                split='train',
                pipeline=eval_pipeline,
            ),
            **eval_dataloader,
        ),
        query=dict(
            dataset=dict(
                type='ImageNetFolder',
                data_root=data_root,
                split='val',
                pipeline=eval_pipeline,
            ),
            **eval_dataloader,
        ),
    )
]
