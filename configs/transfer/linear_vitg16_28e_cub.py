# Linear probe of ViT-g/16 on CUB-200-2011, as on ImageNet.
_base_ = 'linear_vitg16_28e_imagenet.py'
model = dict(head=dict(num_classes=200))
data_preprocessor = dict(num_classes=200)
cub = dict(type='CUB', data_root='data/CUB_200_2011')
train_dataloader = dict(dataset=cub)
val_dataloader = dict(dataset=dict(split='test', **cub))
test_dataloader = val_dataloader
del cub
