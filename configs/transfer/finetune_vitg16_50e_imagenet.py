# Fine-tuning of ViT-g/16 on ImageNet-1K: rate, decay and drop path are MAE's for ViT-H.
_base_ = 'finetune_vitb16_50e_imagenet.py'
model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=1408,
            num_layers=40,
            num_heads=16,
            feedforward_channels=6144,
        ),
        drop_path_rate=0.3,
        with_cp=True,
    ),
    head=dict(in_channels=1408),
)
optim_wrapper = dict(optimizer=dict(lr=2e-3), paramwise_cfg=dict(layer_decay_rate=0.75))
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(eta_min_ratio=5e-4)  # 1e-6
