"""Hooks, optimizer wrapper and schedules: what happens when."""

from .alarm_hook import AlarmHook, TrainingAlarm
from .clock import ClockHook
from .data_hook import DataHook
from .deferred import DeferredRuntimeInfoHook
from .durable import CheckpointNotWrittenError, DurableCheckpointHook
from .history_hook import HistoryHook
from .hooks import NonFiniteHook, TargetEncoderHook
from .layer_decay import BackboneDecayOptimWrapperConstructor
from .loop import ResumableTrainLoop
from .optim_wrapper import (
    GuardedOptimWrapper,
    JEPAOptimWrapperConstructor,
    NonFiniteLossError,
)
from .preemption import PreemptionHook, TrainingInterrupted
from .progress_hook import ProgressHook
from .schedules import CosineSchedule, LinearSchedule, PolySchedule, StepSchedule
from .sharding import FullySharded
from .strict import StrictCheckpointHook

__all__ = [
    'AlarmHook',
    'TrainingAlarm',
    'BackboneDecayOptimWrapperConstructor',
    'CheckpointNotWrittenError',
    'ClockHook',
    'CosineSchedule',
    'DataHook',
    'DeferredRuntimeInfoHook',
    'DurableCheckpointHook',
    'FullySharded',
    'GuardedOptimWrapper',
    'HistoryHook',
    'JEPAOptimWrapperConstructor',
    'LinearSchedule',
    'NonFiniteHook',
    'NonFiniteLossError',
    'PolySchedule',
    'PreemptionHook',
    'ProgressHook',
    'ResumableTrainLoop',
    'StepSchedule',
    'StrictCheckpointHook',
    'TargetEncoderHook',
    'TrainingInterrupted',
]
