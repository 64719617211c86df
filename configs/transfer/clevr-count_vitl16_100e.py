# Clevr/Count of ViT-L/16.
_base_ = 'clevr-count_vitb16_100e.py'
model = dict(backbone=dict(arch='large'), head=dict(in_channels=1024))
