"""The clock's keys, and the streams of draws that they tell apart."""

import ast
from collections import Counter
from pathlib import Path

import pytest

from dseq_mm.clock import TrainingClock, check_clock
from dseq_mm.randomness import Purpose, hash_integers

ROOT = Path(__file__).resolve().parents[1]


def test_a_key_is_the_hash_of_seed_time_and_purpose():
    clock = TrainingClock(epoch=3, iteration=17, progress=0.5, seed=11)
    assert clock.epoch_key(Purpose.REGIONS) == hash_integers(11, 3, 1)
    assert clock.iteration_key(Purpose.BATCH) == hash_integers(11, 17, 2)
    for seed in (0, 5):  # a part's own seed goes first, 0 too
        assert clock.epoch_key(Purpose.BLOCKS, seed) == hash_integers(seed, 3, 0)
        assert clock.iteration_key(1000, seed) == hash_integers(seed, 17, 1000)


def test_purposes_keep_their_numbers():
    """Other ones would change the masks of every run."""
    numbers = dict(BLOCKS=0, REGIONS=1, BATCH=2, DIRECTIONS=3, OUTSIDE=1000)
    assert {purpose.name: purpose.value for purpose in Purpose} == numbers
    assert len(Purpose.__members__) == len(numbers)  # no two names for one number


def test_no_stream_is_drawn_in_two_places():
    calls, hashes = Counter(), []
    for path in sorted((ROOT / 'dseq_mm').rglob('*.py')):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, 'attr', getattr(node.func, 'id', ''))
            if name in ('epoch_key', 'iteration_key'):
                calls[name, ast.unparse(node.args[0]), path.stem] += 1
            elif name == 'hash_integers':
                hashes.append(path.stem)
    assert calls == {
        ('epoch_key', 'Purpose.BLOCKS', 'multi_block'): 1,
        ('epoch_key', 'Purpose.REGIONS', 'discriminative'): 1,
        # one of a plan: that of the regions is never the released sampler's
        ('iteration_key', 'Purpose.BATCH', 'discriminative'): 1,
        ('iteration_key', 'Purpose.BATCH', 'multi_block'): 1,
        ('iteration_key', 'Purpose.DIRECTIONS', 'sigreg'): 1,
    }
    # those of the clock, and two streams with another number of integers
    assert Counter(hashes) == dict(clock=2, saliency=1, keyed_dataset=1)


def test_a_step_without_clock_is_refused():
    assert check_clock(TrainingClock()) == (0, 0, 0.0, 0)
    with pytest.raises(ValueError, match="type='ClockHook'"):
        check_clock(None)
