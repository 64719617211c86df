# What the classification transfers share: MMPretrain's runtime plus our hooks.
_base_ = 'mmpretrain::_base_/default_runtime.py'
custom_imports = dict(imports=['dseq_mm'], allow_failed_imports=False)

default_hooks = dict(
    checkpoint=dict(type='DurableCheckpointHook', max_keep_ckpts=1, save_last=True)
)
custom_hooks = [
    dict(type='mmpretrain.ClockHook'),  # the schedules follow the progress
    dict(type='mmpretrain.StrictCheckpointHook'),
    dict(type='mmpretrain.NonFiniteHook'),  # diverged weights are not saved
    dict(type='mmpretrain.PreemptionHook'),
    dict(type='mmpretrain.DataHook'),  # classes agree, nothing is missing
]
randomness = dict(seed=0)
