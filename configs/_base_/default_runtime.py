# What every pre-training run shares: MMPretrain's runtime plus our hooks.
_base_ = 'mmpretrain::_base_/default_runtime.py'
custom_imports = dict(imports=['dseq_mm'], allow_failed_imports=False)

default_hooks = dict(
    runtime_info=dict(type='DeferredRuntimeInfoHook'),  # no waiting for the log
    clock=dict(type='ClockHook'),  # epoch and progress for the keyed masks
    target_encoder=dict(type='TargetEncoderHook'),  # EMA per optimizer step
    non_finite=dict(type='NonFiniteHook'),  # stop before a bad update
    strict=dict(type='StrictCheckpointHook'),  # a checkpoint fits, or is refused
    preemption=dict(type='PreemptionHook'),  # SIGTERM, SIGUSR1: save and end
    data=dict(type='DataHook'),  # what is used and left out; classes agree
    progress=dict(type='ProgressHook'),
    history=dict(type='HistoryHook'),  # a long run is logged as fast as a short one
    rank=dict(type='EffectiveRankHook'),  # of the features of the last images
    alarm=dict(type='AlarmHook'),  # collapse, divergence, waiting for data
    checkpoint=dict(  # a whole file, or the one before
        type='DurableCheckpointHook', interval=10, max_keep_ckpts=2, save_last=True
    ),
)
randomness = dict(seed=0)
