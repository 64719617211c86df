# Clevr/Dist on DigitScenes: how near, that is how large, is the nearest digit.
_base_ = 'clevr-count_digits_100e.py'
model = dict(head=dict(num_classes=6))
data_preprocessor = dict(num_classes=6)
train_dataloader = dict(dataset=dict(task='distance'))
val_dataloader = dict(dataset=dict(task='distance'))
test_dataloader = dict(dataset=dict(task='distance'))
