# Ours, for ablations: I-JEPA, ViT-S/16, same budget as dseq_vits16_100e.py.
_base_ = [
    '_base_/models/ijepa_vit-base-p16.py',
    '_base_/datasets/imagenet_224.py',
    '_base_/schedules/jepa_2048_100e.py',
    '_base_/default_runtime.py',
]
model = dict(backbone=dict(arch='deit-small'), neck=dict(predictor_dims=192))
