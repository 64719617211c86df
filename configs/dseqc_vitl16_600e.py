# DSeq-C-JEPA, ViT-L/16, 224 px, 600 epochs: 8 GPUs x 256 images = 2048.
_base_ = 'dseqc_vitb16_600e.py'
model = dict(backbone=dict(arch='large'), neck=dict(depth=12))
