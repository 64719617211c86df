"""Which numbers a count, a rate or a factor may be; parts check their own by these."""

from numbers import Integral, Real
from typing import Any

#: Beyond it PyTorch's and OpenCV's counts and sizes overflow.
_MOST = 2**31 - 1


def is_count(value: Any, least: int = 1, most: int = _MOST) -> bool:
    """Tell whether a value may count something.

    Args:
        value: Anything.
        least: Smallest count allowed.
        most: Largest count allowed; by default what a 32-bit integer holds.

    Returns:
        True for a whole number between them.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    return whole and least <= value <= most


def is_rate(value: Any) -> bool:
    """Tell whether a value may be the share of what is dropped.

    Args:
        value: Anything.

    Returns:
        True for a number from 0, below 1.
    """
    return is_number(value) and value < 1


def is_number(value: Any, positive: bool = False) -> bool:
    """Tell whether a value is a number that is not negative.

    Args:
        value: Anything.
        positive: Whether it has to be above 0.

    Returns:
        True if it is.
    """
    real = isinstance(value, Real) and not isinstance(value, bool)
    return real and (value > 0 if positive else value >= 0)


def check_counts(part: object, least: int = 1, /, **counts: Any) -> None:
    """Refuse what cannot be a count.

    Args:
        part: Whose arguments they are.
        least: Smallest count allowed.
        **counts: Arguments by name.

    Raises:
        ValueError: If one is no whole number from there on.
    """
    for name, value in counts.items():
        if not is_count(value, least):
            _refuse(part, name, value, f'a whole number from {least}, below 2**31')


def check_rates(part: object, /, **rates: Any) -> None:
    """Refuse what cannot be the share of what is dropped.

    Args:
        part: Whose arguments they are.
        **rates: Arguments by name.

    Raises:
        ValueError: If one is no number from 0, below 1.
    """
    for name, value in rates.items():
        if not is_rate(value):
            _refuse(part, name, value, 'a number from 0, below 1')


def check_numbers(part: object, positive: bool = False, /, **numbers: Any) -> None:
    """Refuse what is negative, or no number.

    Args:
        part: Whose arguments they are.
        positive: Whether 0 is refused, too.
        **numbers: Arguments by name; None is left alone.

    Raises:
        ValueError: If one is.
    """
    for name, value in numbers.items():
        if value is not None and not is_number(value, positive):
            wanted = 'a number above 0' if positive else 'a number from 0'
            _refuse(part, name, value, wanted)


def _refuse(part: object, name: str, value: Any, wanted: str) -> None:
    raise ValueError(f'{name}={value!r} of {type(part).__name__}: give {wanted}')
