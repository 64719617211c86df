# Fine-tuning of ViT-B/16 on ImageNet-1K.
_base_ = [
    '../_base_/models/finetune_vit-base-p16.py',
    '../_base_/datasets/finetune_imagenet_224.py',
    '../_base_/schedules/finetune_50e.py',
    '../_base_/transfer_runtime.py',
]
