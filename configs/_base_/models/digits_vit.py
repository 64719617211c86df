# The small ViT of DigitScenes: 6 x 6 patches of 4 px.
digits_vit = dict(
    arch=dict(
        _delete_=True,
        embed_dims=96,
        num_layers=4,
        num_heads=3,
        feedforward_channels=192,
    ),
    img_size=24,
    patch_size=4,
    init_std=0.053,
    patch_init_std=0.16,
)
