# The paper's rule alone: no split, no second search; random blocks fill.
_base_ = '../dseq_{{$DSEQ_BUDGET:vitb16_600e}}.py'
model = dict(mask_generator=dict(rule=dict(split=False, secondary=False)))
