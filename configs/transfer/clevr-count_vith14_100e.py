# Clevr/Count of ViT-H/14.
_base_ = 'clevr-count_vitb16_100e.py'
model = dict(
    backbone=dict(arch='huge', patch_size=14),
    head=dict(in_channels=1280),
)
