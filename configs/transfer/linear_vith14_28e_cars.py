# Linear probe of ViT-H/14 on Stanford Cars, as on ImageNet.
_base_ = 'linear_vith14_28e_imagenet.py'
model = dict(head=dict(num_classes=196))
data_preprocessor = dict(num_classes=196)
cars = dict(type='StanfordCars', data_root='data/stanford_cars')
train_dataloader = dict(dataset=cars)
val_dataloader = dict(dataset=dict(split='test', **cars))
test_dataloader = val_dataloader
del cars
