"""Stateless random numbers, keyed by what they belong to.

A draw is a pure function of integers (seed, epoch, dataset index, purpose), so
neither the number of processes or workers, nor the place in a batch, nor a resumed
run changes it. The hash is SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), evaluated
on the device of its input with no host synchronisation.

Keys of parts come from the :class:`~dseq_mm.clock.TrainingClock` and are hashes of
three integers, the last one a :class:`Purpose`. Two streams are told apart by the
number of theirs: crops of images have (seed, epoch, dataset index, generator), the
regions that Grad-CAM predicts have (seed, epoch).

Shape legend: ``B`` images, ``K`` numbers per image.
"""

from enum import IntEnum

import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB


class Purpose(IntEnum):
    """What a stream of draws is for; no two streams have the same.

    The numbers stay as they are: other ones would change every run.
    """

    #: Layouts of I-JEPA's blocks, for each image.
    BLOCKS = 0
    #: Curriculum, fills and order of DSeq-JEPA's regions, for each image.
    REGIONS = 1
    #: What a batch shares: the curriculum's decision, or the released block sizes.
    BATCH = 2
    #: Directions in which SIGReg looks at a batch.
    DIRECTIONS = 3
    #: The first number that is free for parts from outside the package.
    OUTSIDE = 1000


def hash_integers(*values: int) -> int:
    """Mix integers into one 64-bit hash.

    Args:
        *values: The integers, in an order that matters.

    Returns:
        An integer in ``[0, 2**64)``.
    """
    state = 0
    for value in values:
        state = (state + _GOLDEN + (value & _MASK)) & _MASK
        state = ((state ^ (state >> 30)) * _MIX_1) & _MASK
        state = ((state ^ (state >> 27)) * _MIX_2) & _MASK
        state ^= state >> 31
    return state


def keyed_uniform(key: int, sample_idx: Tensor, num: int) -> Tensor:
    """Draw uniform numbers for each sample.

    Args:
        key: Hash of what all samples share, see :func:`hash_integers`.
        sample_idx: Dataset index of each image, ``(B,)``, int64.
        num: How many numbers each image gets.

    Returns:
        Uniforms in ``[0, 1)``, ``(B, num)``, float64. Row ``b`` depends on ``key`` and
        ``sample_idx[b]`` alone.
    """
    state = _mix(sample_idx.long() * _signed(_GOLDEN) + _signed(key))
    counter = torch.arange(1, num + 1, device=sample_idx.device)
    bits = _mix(state[:, None] + counter * _signed(_GOLDEN))  # (B, K)
    return _shift_right(bits, 11).double() * 2.0**-53


def _signed(value: int) -> int:
    """The int64 with the same bits as an unsigned 64-bit integer."""
    return value - (1 << 64) if value >= 1 << 63 else value


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical shift of int64 bit patterns (``>>`` on int64 is arithmetic)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    """SplitMix64's finaliser on int64 bit patterns; products wrap around."""
    x = (x ^ _shift_right(x, 30)) * _signed(_MIX_1)
    x = (x ^ _shift_right(x, 27)) * _signed(_MIX_2)
    return x ^ _shift_right(x, 31)
