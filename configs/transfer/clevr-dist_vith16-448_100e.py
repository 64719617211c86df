# Clevr/Dist of ViT-H/16 at 448 px.
_base_ = 'clevr-dist_vitb16_100e.py'
model = dict(backbone=dict(arch='huge', img_size=448), head=dict(in_channels=1280))
pipeline = _base_.pipeline
pipeline[1].update(scale=(448, 448))
train_dataloader = dict(dataset=dict(pipeline=pipeline))
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = dict(dataset=dict(pipeline=pipeline))
