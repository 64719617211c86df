# Mask R-CNN on DigitScenes: mask-rcnn_vitb16_25e_coco with a small ViT, scenes of 96 px
# and narrower heads. No flips, since digits are not symmetric. One process of 8 images.
# Float32, as CPUs are slower in bfloat16; five times the learning rate, as there are
# only 625 updates.
_base_ = ['mask-rcnn_vitb16_25e_coco.py', '../_base_/models/digits_vit.py']
model = dict(
    backbone=dict(
        **_base_.digits_vit,
        out_indices=[0, 1, 2, 3],
        window_size=6,
        global_blocks=[1, 3],
        dtype=None,
    ),
    neck=[
        dict(
            type='mmseg.Feature2Pyramid',
            embed_dim=96,
            rescales=[2, 1, 0.5, 0.25],
            norm_cfg=dict(type='mmpretrain.LN2d'),
        ),
        dict(
            type='FPN',
            in_channels=[96] * 4,
            out_channels=32,
            num_outs=5,
            norm_cfg=dict(type='mmpretrain.LN2d'),
        ),
    ],
    rpn_head=dict(
        in_channels=32,
        feat_channels=32,
        anchor_generator=dict(scales=[4], strides=[2, 4, 8, 16, 32]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(
            out_channels=32, featmap_strides=[2, 4, 8, 16], finest_scale=28
        ),
        bbox_head=dict(in_channels=32, fc_out_channels=128, num_classes=10),
        mask_roi_extractor=dict(
            out_channels=32, featmap_strides=[2, 4, 8, 16], finest_scale=28
        ),
        mask_head=dict(in_channels=32, conv_out_channels=32, num_classes=10),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=128)),
        rpn_proposal=dict(nms_pre=200, max_per_img=100),
        rcnn=dict(sampler=dict(num=64)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100)),
)
scenes = dict(
    data_root='data/digitscenes/scenes/',
    metainfo=dict(classes=tuple('0123456789')),
)
train_dataloader = _base_.train_dataloader
train_dataloader.update(batch_size=8, num_workers=0, persistent_workers=False)
train_dataloader.dataset.pipeline[2].update(scale=(96, 96))
train_dataloader.dataset.pipeline[3].update(prob=0.0)
train_dataloader.dataset.update(
    ann_file='annotations/instances_train.json',
    data_prefix=dict(img='train/'),
    **scenes,
)
val_dataloader, test_dataloader = _base_.val_dataloader, _base_.test_dataloader
for loader in (val_dataloader, test_dataloader):
    loader.update(num_workers=0, persistent_workers=False)
    loader.dataset.pipeline[1].update(scale=(96, 96))
    loader.dataset.update(
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'),
        **scenes,
    )
val_evaluator = dict(ann_file=scenes['data_root'] + 'annotations/instances_val.json')
test_evaluator = val_evaluator
del scenes, loader
optim_wrapper = dict(optimizer=dict(lr=5e-4))
auto_scale_lr = dict(base_batch_size=8)
