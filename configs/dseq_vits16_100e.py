# Ours, for ablations: DSeq-JEPA, ViT-S/16, 224 px, 100 epochs. The paper has
# no ViT-S; the predictor is half as wide as the encoder, as that of ViT-B.
_base_ = [
    '_base_/models/dseq_vit-base-p16.py',
    '_base_/datasets/imagenet_224.py',
    '_base_/schedules/jepa_2048_100e.py',
    '_base_/default_runtime.py',
]
model = dict(backbone=dict(arch='deit-small'), neck=dict(predictor_dims=192))
