# Fine-tuning of ViT-H/16 at 448 px on ImageNet-1K: rate, decay and drop path are MAE's
# for ViT-H.
_base_ = 'finetune_vitb16_50e_imagenet.py'
model = dict(
    backbone=dict(arch='huge', img_size=448, drop_path_rate=0.3, with_cp=True),
    head=dict(in_channels=1280),
)
optim_wrapper = dict(optimizer=dict(lr=2e-3), paramwise_cfg=dict(layer_decay_rate=0.75))
train_dataloader = _base_.train_dataloader
train_dataloader.dataset.pipeline[1].update(scale=448)
val_dataloader = _base_.val_dataloader
val_dataloader.dataset.pipeline[1].update(scale=512)
val_dataloader.dataset.pipeline[2].update(crop_size=448)
test_dataloader = val_dataloader
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(eta_min_ratio=5e-4)  # 1e-6
