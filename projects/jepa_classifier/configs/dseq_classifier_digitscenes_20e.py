# Labels and DSeq-JEPA on DigitScenes, same budget as dseq_digitscenes_20e. Labels alone
# are --cfg-options model.jepa_weight=0.0
_base_ = '../../../configs/dseq_digitscenes_20e.py'
custom_imports = dict(imports=['dseq_mm', 'dseq_mm.projects.jepa_classifier'])
model = dict(
    type='JEPAClassifier',
    cls_head=dict(type='LinearClsHead', num_classes=10),
    jepa_weight=1.0,
)
# train_dataloader has labels already: its folders are the classes
val_dataloader = _base_.custom_hooks[0].query
val_evaluator = dict(type='Accuracy', topk=(1,))
val_cfg = dict()
test_dataloader, test_evaluator, test_cfg = val_dataloader, val_evaluator, dict()
train_cfg = dict(val_interval=1)
