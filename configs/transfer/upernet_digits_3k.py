# UPerNet on DigitScenes: upernet_vitb16_160k_ade20k with a small ViT, scenes of 96 px,
# 11 classes, narrower heads and 3,000 iterations of one process with 8 images. No
# flips, since digits are not symmetric. Ten times the learning rate, as there are few
# updates; the ground, nine tenths of all pixels, weighs a tenth.
_base_ = ['upernet_vitb16_160k_ade20k.py', '../_base_/models/digits_vit.py']
crop_size = (64, 64)
data_preprocessor = dict(size=crop_size)
weighted = dict(class_weight=[0.1] + [1.0] * 10)
model = dict(
    data_preprocessor=data_preprocessor,
    backbone=dict(
        **_base_.digits_vit,
        out_indices=[0, 1, 2, 3],
    ),
    neck=dict(embed_dim=96, rescales=[2, 1, 0.5, 0.25]),
    decode_head=dict(
        in_channels=[96] * 4, channels=32, num_classes=11, loss_decode=weighted
    ),
    auxiliary_head=dict(
        in_channels=96, channels=32, num_classes=11, loss_decode=weighted
    ),
    test_cfg=dict(crop_size=crop_size, stride=(43, 43)),
)

scenes = dict(
    type='BaseSegDataset',
    data_root='data/digitscenes/scenes',
    metainfo=dict(
        classes=('ground', *'0123456789'),
        palette=[[120, 120, 120]]
        + [[25 * (10 - d), 60 + 150 * (d % 2), 25 * d] for d in range(10)],
    ),
    img_suffix='.png',
    reduce_zero_label=True,
)
train_dataloader = _base_.train_dataloader
train_dataloader.update(batch_size=8, num_workers=0, persistent_workers=False)
train_dataloader.dataset.update(
    data_prefix=dict(img_path='train', seg_map_path='segmentation/train'), **scenes
)
train_dataloader.dataset.pipeline[2].update(scale=(384, 96))
train_dataloader.dataset.pipeline[3].update(crop_size=crop_size)
train_dataloader.dataset.pipeline[4].update(prob=0.0)
val_dataloader, test_dataloader = _base_.val_dataloader, _base_.test_dataloader
for loader in (val_dataloader, test_dataloader):
    loader.update(num_workers=0, persistent_workers=False)
    loader.dataset.update(
        data_prefix=dict(img_path='val', seg_map_path='segmentation/val'), **scenes
    )
    loader.dataset.pipeline[1].update(scale=(384, 96))
del scenes, weighted, loader

param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=100)
train_cfg = dict(max_iters=3000, val_interval=750)
default_hooks = dict(checkpoint=dict(interval=750))
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(base_batch_size=8)
