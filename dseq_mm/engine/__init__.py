"""Hooks, optimizer wrapper and schedules: what happens when."""

from .deferred import DeferredRuntimeInfoHook
from .hooks import (
    ClockHook,
    NonFiniteHook,
    StrictCheckpointHook,
    TargetEncoderHook,
)
from .layer_decay import BackboneDecayOptimWrapperConstructor
from .optim_wrapper import (
    GuardedOptimWrapper,
    JEPAOptimWrapperConstructor,
    NonFiniteLossError,
)
from .progress_hook import ProgressHook

__all__ = [
    'BackboneDecayOptimWrapperConstructor',
    'ClockHook',
    'DeferredRuntimeInfoHook',
    'GuardedOptimWrapper',
    'JEPAOptimWrapperConstructor',
    'NonFiniteHook',
    'NonFiniteLossError',
    'ProgressHook',
    'StrictCheckpointHook',
    'TargetEncoderHook',
]
