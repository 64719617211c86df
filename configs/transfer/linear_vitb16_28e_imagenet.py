# Linear probe of ViT-B/16 on ImageNet-1K.
_base_ = [
    '../_base_/models/linear_vit-base-p16.py',
    '../_base_/datasets/linear_imagenet_224.py',
    '../_base_/schedules/linear_28e.py',
    '../_base_/transfer_runtime.py',
]
