"""Errors of building a config's parts name the part."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import build_functions

from ..utils.arguments import RESERVED, similar_type
from ..utils.command import explain, is_told, work_has_begun
from .valid_options import find_unread, places_of_type

_UNEXPECTED = re.compile(r"unexpected keyword argument '(\w+)'")
_UNKNOWN = re.compile(r"'?(\S+) is not in the (?:[\w-]+::)?(.+?) registry")


@contextmanager
def name_parts(cfg: Config) -> Iterator[None]:
    """Make errors of building sentences that name the part of the config.

    Args:
        cfg: What is built from.

    Yields:
        Nothing.

    Raises:
        ValueError: Instead of any error in which no sentence of ours says what is
            wrong, as long as the work has not begun.
    """
    try:
        yield
    except (OSError, ImportError, MemoryError):
        raise
    except Exception as error:
        if work_has_begun() or is_told(error):
            raise
        raise ValueError(_sentence(error, cfg)) from error


def _sentence(error: Exception, cfg: Config) -> str:
    """What is wrong, and where in the config."""
    unexpected = _UNEXPECTED.search(str(error))
    if unexpected and (problem := find_unread(cfg, unexpected[1])):
        return problem
    kind, place = _part_of(error, cfg)
    if found := _UNKNOWN.match(str(error.args[0]) if error.args else ''):
        name, what = found.groups()
        scope = cfg.get('default_scope')
        near = similar_type(name, None, scope)
        place = next(iter(places_of_type(cfg, name)), place)
        advice = f'did you mean {near!r}? ' if near else ''
        return (
            f'{place or "the config"}: there is no {what} {name!r}; {advice}A part of '
            'your own is registered by a module that custom_imports names'
        )
    where = f'{kind} ({place})' if place else kind or 'the config'
    return f'{where} cannot be built: {_cause(error, cfg, place)}'


def _cause(error: Exception, cfg: Config, place: str) -> str:
    """Why a part cannot be built; of a data set by its files, if those tell it."""
    if place.rpartition('.')[2] != 'dataset':
        return explain(error)
    from .config_checks import explain_unbuilt  # needs what this package has

    cause = explain_unbuilt(_node_at(cfg, place), error).errors[0]
    return cause.removeprefix('it cannot be built: ')


def _part_of(error: Exception, cfg: Config) -> tuple[str, str]:
    """Type and place of the part that was being built."""
    kind, step = '', error.__traceback__
    given: dict = {}
    while step is not None:
        code = step.tb_frame.f_code
        if Path(code.co_filename) == Path(build_functions.__file__):
            made = step.tb_frame.f_locals.get('obj_cls')
            kind = getattr(made, '__name__', kind)
            given = step.tb_frame.f_locals.get('args') or given
        step = step.tb_next
    places = places_of_type(cfg, kind) if kind else []
    # of several parts of this type the one with these arguments
    same = [place for place in places if _has_arguments(_node_at(cfg, place), given)]
    return kind, next(iter(same or places), '')


def _node_at(cfg: Config, place: str) -> Any:
    """The part of a config at a dotted key."""
    node = cfg
    for part in place.split('.'):
        node = node[int(part) if isinstance(node, list | tuple) else part]
    return node


def _has_arguments(node: dict, given: dict) -> bool:
    """Whether all that a part of a config says is among the arguments given."""
    own = {name: value for name, value in node.items() if name not in RESERVED}
    return all(name in given and given[name] == own[name] for name in own)
