# One draw of the curriculum for each region (Algorithm 1).
_base_ = '../dseq_{{$DSEQ_BUDGET:vitb16_600e}}.py'
model = dict(mask_generator=dict(curriculum=dict(unit='region')))
