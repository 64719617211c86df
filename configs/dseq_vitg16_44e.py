# DSeq-JEPA, ViT-g/16, 224 px, 44 epochs of ImageNet-22K (ours; the recipe is I-JEPA's):
# 8 GPUs x 16 images x 16 accumulated = 2048.
_base_ = [
    '_base_/models/dseq_vit-base-p16.py',
    '_base_/datasets/imagenet22k_224.py',
    '_base_/schedules/jepa_2048_g16_44e.py',
    '_base_/default_runtime.py',
]
model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=1408,
            num_layers=40,
            num_heads=16,
            feedforward_channels=6144,
        ),
        with_cp=True,
    ),
    neck=dict(depth=16),
)
