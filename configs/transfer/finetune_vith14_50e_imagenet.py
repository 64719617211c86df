# Fine-tuning of ViT-H/14 on ImageNet-1K: rate, decay and drop path are MAE's for ViT-H.
_base_ = 'finetune_vitb16_50e_imagenet.py'
model = dict(
    backbone=dict(arch='huge', patch_size=14, drop_path_rate=0.3, with_cp=True),
    head=dict(in_channels=1280),
)
optim_wrapper = dict(optimizer=dict(lr=2e-3), paramwise_cfg=dict(layer_decay_rate=0.75))
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(eta_min_ratio=5e-4)  # 1e-6
