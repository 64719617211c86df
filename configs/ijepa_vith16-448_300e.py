# I-JEPA, ViT-H/16, 448 px, 300 epochs: 8 GPUs x 64 images x 4 accumulated = 2048.
_base_ = [
    '_base_/models/ijepa_vit-base-p16.py',
    '_base_/datasets/imagenet_448.py',
    '_base_/schedules/jepa_2048_300e.py',
    '_base_/default_runtime.py',
]
model = dict(
    backbone=dict(arch='huge', img_size=448, with_cp=True),
    neck=dict(depth=12),
)
