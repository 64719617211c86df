# A ViT for 24 px digits: 6 x 6 patches of 4 px.
_base_ = ['jepa_vit-base-p16.py', 'digits_vit.py']
model = dict(
    backbone=_base_.digits_vit,
    neck=dict(predictor_dims=64, depth=2, num_heads=4, mlp_ratio=2.0, init_std=0.053),
    target_encoder=dict(momentum=0.99),
)
