"""Options that nothing reads, in dicts that end as keyword arguments."""

import pytest

from dseq_mm.regions import RegionRule
from dseq_mm.utils.arguments import check_arguments


class Inherits(RegionRule):
    """Takes what its parent takes."""


class PassesOn(RegionRule):
    def __init__(self, own=0, **kwargs):
        super().__init__(**kwargs)


class Open:
    def __init__(self, a=0, **rest):
        self.rest = list(rest)  # no telling which it reads


@pytest.mark.parametrize(
    ('given', 'taken_by', 'message'),
    [
        (dict(split=1, min_aera=1), RegionRule, "'min_aera'; did you mean 'min_area'"),
        (dict(min_aera=1), Inherits, "did you mean 'min_area'"),
        (dict(min_aera=1), PassesOn, "did you mean 'min_area'"),
        (dict(x=1), RegionRule, "has no argument 'x'; it has num_regions, min_area, "),
        (dict(strat=1), {'start': 0.0}, "did you mean 'start'"),
        ({1: 2}, ('start',), 'has no argument 1; it has start'),
        (None, RegionRule, 'is a dict of options, not None'),
        ('split', RegionRule, "is a dict of options, not 'split'"),
    ],
)
def test_what_nothing_reads_is_refused(given, taken_by, message):
    with pytest.raises(ValueError, match=f'^rule .*{message}'):
        check_arguments(given, taken_by, 'rule')


@pytest.mark.parametrize(
    ('given', 'taken_by'),
    [
        ({}, RegionRule),
        (dict(split=True), RegionRule),
        (dict(own=1, split=True), PassesOn),
        (dict(b=1), Open),
    ],
)
def test_what_may_be_read_is_not(given, taken_by):
    check_arguments(given, taken_by, 'rule')
