# Discriminative regions from the first step on.
_base_ = '../dseq_{{$DSEQ_BUDGET:vitb16_600e}}.py'
model = dict(mask_generator=dict(curriculum=dict(start=1.0)))
