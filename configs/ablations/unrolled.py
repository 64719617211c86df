# The context of each step is encoded anew with full attention.
_base_ = '../dseq_{{$DSEQ_BUDGET:vitb16_600e}}.py'
model = dict(unrolled=True)
