"""Numbers that parts refuse, and those that they take."""

import numpy as np
import pytest

from dseq_mm.utils.values import check_counts, check_numbers, check_rates, is_number


class Part:
    """Anything with a name."""


@pytest.mark.parametrize('value', [0, -1, 1.0, True, '1', None, [1], 2**31])
def test_what_is_no_count(value):
    with pytest.raises(ValueError, match='^depth=.* of Part: give a whole number from'):
        check_counts(Part(), depth=value)


def test_what_is_a_count():
    check_counts(Part(), a=1, b=2**31 - 1, c=np.int64(3))
    check_counts(Part(), 0, a=0)
    with pytest.raises(ValueError, match='a=1 of Part: .* from 2'):
        check_counts(Part(), 2, a=1)


@pytest.mark.parametrize('value', [1, 2, -1, -0.1, float('nan'), '0', None, False])
def test_what_is_no_rate(value):
    with pytest.raises(ValueError, match='^drop=.* of Part: .* from 0, below 1'):
        check_rates(Part(), drop=value)


def test_other_numbers():
    check_rates(Part(), a=0, b=0.99)
    check_numbers(Part(), a=0, b=None, c=float('inf'))
    with pytest.raises(ValueError, match='^b=-1 of Part: give a number from 0$'):
        check_numbers(Part(), a=0, b=-1)
    with pytest.raises(ValueError, match='^b=0 of Part: give a number above 0$'):
        check_numbers(Part(), True, a=1, b=0)
    assert not is_number(float('nan')) and not is_number(True)
