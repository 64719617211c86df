# Clevr/Dist of ViT-B/16: how near is the nearest object (6 classes).
_base_ = 'clevr-count_vitb16_100e.py'
model = dict(head=dict(num_classes=6))
data_preprocessor = dict(num_classes=6)
train_dataloader = dict(dataset=dict(task='distance'))
val_dataloader = dict(dataset=dict(task='distance'))
test_dataloader = dict(dataset=dict(task='distance'))
