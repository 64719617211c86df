"""What time it is: all that the parts of a method are told about the training.

A draw is a function of the clock and of nothing else that a run may change, see
:mod:`dseq_mm.randomness`.
"""

from typing import NamedTuple

from .randomness import hash_integers


class TrainingClock(NamedTuple):
    """When a step happens, and the seed of the run; ClockHook sets it.

    Mask generators, saliency proxies and regularizers get it with each step. It is the
    same on all processes.

    Args:
        epoch: From 0.
        iteration: From 0.
        progress: Share of the training that is done, 0 at the first and below 1 at the
            last iteration, whatever batch size and number of processes.
        seed: Seed of the run; parts with a seed of their own take that one.
    """

    epoch: int = 0
    iteration: int = 0
    progress: float = 0.0
    seed: int = 0

    def epoch_key(self, purpose: int, seed: int | None = None) -> int:
        """Make the key of draws of one image each, new in each epoch.

        Args:
            purpose: One of :class:`~dseq_mm.randomness.Purpose`, or a number of yours
                from ``Purpose.OUTSIDE`` up.
            seed: Seed of the part; None for the run's.

        Returns:
            A key for :func:`~dseq_mm.randomness.keyed_uniform`.
        """
        return hash_integers(self.seed if seed is None else seed, self.epoch, purpose)

    def iteration_key(self, purpose: int, seed: int | None = None) -> int:
        """Make the key of draws that a whole batch shares, new in each iteration.

        Args:
            purpose: See :meth:`epoch_key`.
            seed: See :meth:`epoch_key`.

        Returns:
            A key for :func:`~dseq_mm.randomness.keyed_uniform`.
        """
        seed = self.seed if seed is None else seed
        return hash_integers(seed, self.iteration, purpose)


def check_clock(clock: TrainingClock | None) -> TrainingClock:
    """Refuse a training step without a clock.

    Its masks would be the same in every epoch, and of the start of the curriculum.

    Args:
        clock: That of the algorithm; None if it was never set.

    Returns:
        The clock.

    Raises:
        ValueError: If it was never set.
    """
    if clock is None:
        raise ValueError(
            'this config lacks our hooks, so masks and schedules would not know which '
            "epoch it is: inherit 'dseq_mm::_base_/default_runtime.py', or add "
            "default_hooks=dict(clock=dict(type='ClockHook'), "
            "target_encoder=dict(type='TargetEncoderHook')). In a loop of your own set "
            'model.clock=TrainingClock(epoch, iteration, progress) before each step.'
        )
    return clock
