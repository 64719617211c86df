# C-JEPA, its paper's Algorithm 1: predicted blocks are compared with each other.
_base_ = '../cjepa_{{$DSEQ_BUDGET:vitb16_600e}}.py'
model = dict(regularizers=[dict(_base_.model.regularizers[0], pairs='blocks')])
