"""Numbers in a config that its readers take in silence, or trip over later.

Our own parts check their arguments themselves; here is what the hosts do not check.
"""

import re
from collections.abc import Callable, Iterable
from functools import partial
from numbers import Integral
from typing import Any

from ..utils.values import is_count, is_number, is_rate

_positive = partial(is_number, positive=True)

_LOADER = r'((train|val|test)_dataloader|custom_hooks\.\d+\.(bank|query))'
_OPTIMIZER = r'optim_wrapper(\.[^.]+)?'
_COUNT = 'give a whole number from 1, below 2**31'


def _is_length(value: Any) -> bool:
    """Whether a training may be so long; 1e5 is a whole number, too."""
    return is_number(value) and is_count(int(value) if value % 1 == 0 else value)


def _is_range(value: Any) -> bool:
    pair = isinstance(value, list | tuple) and len(value) == 2
    return pair and all(map(_positive, value)) and value[0] <= value[1]


def _each(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """The same of a list: of each."""

    def look(value: Any) -> bool:
        values = value if isinstance(value, list | tuple) else [value]
        return all(is_right(value) for value in values)

    return look


def _is_small(value: Any) -> bool:
    return not isinstance(value, Integral) or abs(int(value)) < 2**31


#: Dotted places, what a value there has to be, and what to do if it is not.
_RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    (_LOADER + r'\.(batch_size|prefetch_factor)', is_count, _COUNT),
    (
        _LOADER + r'\.num_workers',
        partial(is_count, least=0),
        'give a whole number from 0, below 2**31',
    ),
    (r'train_cfg\.max_(epochs|iters)', _is_length, 'train for 1 or more, below 2**31'),
    (
        r'train_cfg\.val_interval',
        is_count,
        'set 1 or more, below 2**31; --no-validate trains without validation',
    ),
    (
        r'randomness\.seed',
        partial(is_count, least=0, most=2**32 - 1),
        'give a whole number from 0 to 2**32 - 1',
    ),
    (_OPTIMIZER + r'\.accumulative_counts', is_count, _COUNT),
    (r'auto_scale_lr\.base_batch_size', is_count, _COUNT),
    (
        r'(model\.)?data_preprocessor\.std',
        _each(_positive),
        'give a number above 0 for each channel',
    ),
    (
        _OPTIMIZER + r'\.clip_grad\.(max_norm|clip_value)',
        _positive,
        'give a number above 0; optim_wrapper.clip_grad=None clips nothing',
    ),
    (r'(.+\.)?drop_path_rate', _each(is_rate), 'give a number from 0, below 1'),
    (
        r'.+\.(crop_ratio_range|aspect_ratio_range|ratio_range)',
        _is_range,
        'give two numbers above 0, the lower one first',
    ),
    (
        r'(model|(train|val|test)_dataloader)\.(.+\.)?(?!\w*(seed|bytes))\w+',
        _is_small,
        'give a number below 2**31',
    ),
)
_COMPILED = tuple((re.compile(places), check, words) for places, check, words in _RULES)


def check_values(parts: Iterable[tuple[str, Any]]) -> None:
    """Refuse numbers that a part of a config cannot work with.

    Args:
        parts: Everything in the config that is read: dotted key and value.

    Raises:
        ValueError: For the first of them, with what is right.
    """
    for place, value in parts:
        if value is None or isinstance(value, str | dict):
            continue
        for places, is_right, words in _COMPILED:
            if places.fullmatch(place) and not is_right(value):
                raise ValueError(f'{place} is {value!r}: {words}')
