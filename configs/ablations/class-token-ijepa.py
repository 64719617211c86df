# I-JEPA with a class token.
_base_ = '../ijepa_{{$DSEQ_BUDGET:vitb16_600e}}.py'
model = dict(backbone=dict(with_cls_token=True))
