"""Classes are names: labels of one data set in terms of another's."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

_SHOWN = 5  # names in a message


def class_names(dataset: Any) -> tuple[str, ...] | None:
    """Find the names of a data set's classes, in the order of their labels.

    Args:
        dataset: A data set, maybe in wrappers (`dataset`) or joined (`datasets`).

    Returns:
        The names; None where the data set does not tell them.

    Raises:
        ValueError: The parts of a joined data set have different classes.
    """
    if parts := getattr(dataset, 'datasets', None):
        names = [class_names(part) for part in parts]
        for other in names[1:]:
            if other != names[0]:
                raise ValueError(
                    'the joined data sets have different classes, so the same label '
                    f'means different things: {_show(names[0])} and {_show(other)}. '
                    'Give all of them the same metainfo=dict(classes=[...])'
                )
        return names[0]
    metainfo = getattr(dataset, 'metainfo', None)
    classes = metainfo.get('classes') if isinstance(metainfo, Mapping) else None
    if classes:
        return tuple(map(str, classes))
    inner = getattr(dataset, 'dataset', None)
    return None if inner is None else class_names(inner)


def map_labels(
    wanted: Sequence[str], found: Sequence[str], what: str
) -> list[int] | None:
    """Find the labels of classes in another list of classes, by their names.

    Args:
        wanted: Names of the classes whose labels are wanted.
        found: Names of the classes to translate.
        what: Whose classes they are, for the message: 'query against bank'.

    Returns:
        For each class of `found` its label in `wanted`; None if the lists are equal.

    Raises:
        ValueError: A class is not among the wanted ones, or a name is there twice and
            the lists differ.
    """
    if tuple(wanted) == tuple(found):
        return None
    for names in (wanted, found):
        twice = [name for name in dict.fromkeys(names) if list(names).count(name) > 1]
        if twice:
            raise ValueError(
                f'{what}: the classes differ and cannot be compared by name, as '
                f'{_show(twice)} is there twice; give both the same '
                'metainfo=dict(classes=[...])'
            )
    labels = {name: label for label, name in enumerate(wanted)}
    unknown = [name for name in found if name not in labels]
    if unknown:
        near = get_close_matches(unknown[0], list(wanted), 1)
        advice = f'; did you mean {near[0]!r} by {unknown[0]!r}?' if near else ''
        raise ValueError(
            f'{what}: {len(unknown)} of {len(found)} classes are unknown: '
            f'{_show(unknown)}. Known are {_show(wanted)}{advice}'
        )
    return [labels[name] for name in found]


def _show(names: Sequence[str] | None) -> str:
    """A few names; they come from folders and may hold anything."""
    if names is None:
        return 'classes without names'
    shown = ', '.join(repr(str(name)) for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f'{shown}, ... ({len(names)} in all)'
