# Mask R-CNN + FPN with ViT-L/16 on COCO 2017. Blocks 7, 11, 15, 23 and drop path 0.2
# are ours: the paper has no detection with ViT-L.
_base_ = 'mask-rcnn_vitb16_25e_coco.py'
model = dict(
    backbone=dict(arch='large', out_indices=[7, 11, 15, 23], drop_path_rate=0.2),
    neck=[
        dict(
            type='mmseg.Feature2Pyramid',
            embed_dim=1024,
            norm_cfg=dict(type='mmpretrain.LN2d'),
        ),
        dict(
            type='FPN',
            in_channels=[1024] * 4,
            out_channels=256,
            num_outs=5,
            norm_cfg=dict(type='mmpretrain.LN2d'),
        ),
    ],
)
