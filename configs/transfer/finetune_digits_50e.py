# Fine-tuning on DigitScenes: finetune_vitb16_50e_imagenet with a small ViT, images of
# 24 px, and no flips, since digits are not symmetric. One process of 512 images.
_base_ = ['finetune_vitb16_50e_imagenet.py', '../_base_/models/digits_vit.py']
model = dict(
    backbone=_base_.digits_vit,
    head=dict(in_channels=96, num_classes=10),
)
data_preprocessor = dict(num_classes=10)
digits = dict(_delete_=True, type='ImageFolder', data_root='data/digitscenes')
train_pipeline = _base_.train_dataloader.dataset.pipeline
train_pipeline[1].update(scale=24)
train_pipeline[2].update(prob=0.0)
train_dataloader = dict(
    batch_size=512,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_prefix='digits/train', pipeline=train_pipeline, **digits),
)
test_pipeline = _base_.val_dataloader.dataset.pipeline
test_pipeline[1].update(scale=27)
test_pipeline[2].update(crop_size=24)
val_dataloader = dict(
    batch_size=256,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_prefix='digits/val', pipeline=test_pipeline, **digits),
)
test_dataloader = val_dataloader
del digits
