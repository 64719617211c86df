# Components that are too large are not split.
_base_ = '../dseq_{{$DSEQ_BUDGET:vitb16_600e}}.py'
model = dict(mask_generator=dict(rule=dict(split=False)))
