# I-JEPA, ViT-B/16, 224 px, 600 epochs: 8 GPUs x 256 images = 2048.
_base_ = [
    '_base_/models/ijepa_vit-base-p16.py',
    '_base_/datasets/imagenet_224.py',
    '_base_/schedules/jepa_2048_600e.py',
    '_base_/default_runtime.py',
]
