# LeJEPA, ViT-H/14: the paper's largest ViT, by the recipe of lejepa_vitb16_100e. The
# paper's own recipe of this size is not published.
_base_ = 'lejepa_vitb16_100e.py'
model = dict(backbone=dict(arch='huge', patch_size=14))
train_pipeline = _base_.train_pipeline
for step in train_pipeline[1].transforms[1]:
    if step.type == 'AntialiasedResizedCrop':
        step.update(scale=98)
train_dataloader = dict(
    batch_size=16, dataset=dict(dataset=dict(pipeline=train_pipeline))
)
optim_wrapper = dict(accumulative_counts=4)
del step
