# Four disjoint random blocks in the order of the draws, the rest last.
_base_ = '../dseq_{{$DSEQ_BUDGET:vitb16_600e}}.py'
model = dict(mask_generator=dict(curriculum=dict(end=0.0)))
