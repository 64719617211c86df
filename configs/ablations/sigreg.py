# LeJEPA's regularizer on the pooled context, beside the latent loss.
_base_ = '../dseq_{{$DSEQ_BUDGET:vitb16_600e}}.py'
model = dict(regularizers=[dict(type='SIGRegHead')])
