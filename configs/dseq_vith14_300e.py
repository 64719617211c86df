# DSeq-JEPA, ViT-H/14, 224 px, 300 epochs (ours; the recipe is I-JEPA's): 8 GPUs x 128
# images x 2 accumulated = 2048.
_base_ = [
    '_base_/models/dseq_vit-base-p16.py',
    '_base_/datasets/imagenet_224.py',
    '_base_/schedules/jepa_2048_h14_300e.py',
    '_base_/default_runtime.py',
]
model = dict(
    backbone=dict(arch='huge', patch_size=14, with_cp=True),
    neck=dict(depth=12),
)
train_dataloader = dict(batch_size=128)
