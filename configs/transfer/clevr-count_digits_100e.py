# Clevr/Count on DigitScenes: how many digits (0 to 7) in a scene of 96 px. It has one
# held-out set, used for validation and test.
_base_ = ['clevr-count_vitb16_100e.py', '../_base_/models/digits_vit.py']
model = dict(
    backbone=_base_.digits_vit,
    head=dict(in_channels=96),
)
pipeline = _base_.pipeline
pipeline[1].update(scale=(96, 96))
scenes = dict(
    _delete_=True,
    type='SingleTaskDataset',
    data_root='data/digitscenes/scenes',
    task='count',
    pipeline=pipeline,
)
train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(ann_file='clevr_train.json', **scenes),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(ann_file='clevr_val.json', **scenes),
)
test_dataloader = val_dataloader
del scenes
