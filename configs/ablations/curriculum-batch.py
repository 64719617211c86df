# One draw of the curriculum for a whole batch (released code).
_base_ = '../dseq_{{$DSEQ_BUDGET:vitb16_600e}}.py'
model = dict(mask_generator=dict(curriculum=dict(unit='batch')))
