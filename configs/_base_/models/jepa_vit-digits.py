# A ViT for 24 px digits: 6 x 6 patches of 4 px.
_base_ = 'jepa_vit-base-p16.py'
model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=96,
            num_layers=4,
            num_heads=3,
            feedforward_channels=192,
        ),
        img_size=24,
        patch_size=4,
        init_std=0.06,
        patch_init_std=0.18,
    ),
    neck=dict(predictor_dims=64, depth=2, num_heads=4, mlp_ratio=2.0, init_std=0.06),
    target_encoder=dict(momentum=0.99),
)
