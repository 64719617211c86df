# Clevr/Dist of ViT-g/16.
_base_ = 'clevr-dist_vitb16_100e.py'
model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=1408,
            num_layers=40,
            num_heads=16,
            feedforward_channels=6144,
        ),
    ),
    head=dict(in_channels=1408),
)
