# UPerNet with ViT-L/16 on ADE20K. Blocks 7, 11, 15, 23 and drop path 0.2 are ours: the
# paper has no segmentation with ViT-L.
_base_ = 'upernet_vitb16_160k_ade20k.py'
model = dict(
    backbone=dict(arch='large', out_indices=[7, 11, 15, 23], drop_path_rate=0.2),
    neck=dict(embed_dim=1024),
    decode_head=dict(in_channels=[1024] * 4, channels=1024),
    auxiliary_head=dict(in_channels=1024),
)
