"""Options and hook arguments that nothing reads are refused with the nearest name."""

import re
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.optim import DefaultOptimWrapperConstructor

from ..utils.arguments import check_arguments, find_types, has_scope, similar_type
from ..utils.command import nearest
from ..utils.configs import bare_type
from ..utils.host import raw_dict
from .readers import GROUP, TOP_LEVEL, is_free, paramwise_names, reader_of
from .value_checks import check_values

#: Likeness from which a name is taken for a misspelt one, where others may be read too.
_ALIKE = 0.8
#: Words that make another name of one, as of eval_dataloader, a variable.
_SPLITS = {'train', 'val', 'test', 'eval', 'tta'}
_LEVELS = ('DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL')
#: Names at the top that have no parts.
_TEXTS = ('work_dir', 'load_from', 'resume', 'log_level', 'experiment_name')


def apply_options(cfg: Config, options: dict[str, Any]) -> list[str]:
    """Override settings of a config, each of which something must read.

    Args:
        cfg: Changed in place.
        options: Dotted key to value.

    Returns:
        Lines for the log: of which options it cannot be told whether they are read.

    Raises:
        ValueError: If nothing reads an option, the config cannot take it, or a number
            in it is out of range.
    """
    scope = cfg.get('default_scope')
    notes = []
    for key, value in options.items():
        try:
            if not _check_option(cfg, key, value, options):
                notes.append(f'Whether anything reads the option {key} is not known.')
        except ValueError as error:
            raise ValueError(f'--cfg-options {key}: {error}') from None
    cfg.merge_from_dict(options)
    for key, value in options.items():
        for place, node in _changed_dicts(cfg, key, value):
            if problem := unread(node, place, scope):
                raise ValueError(f'--cfg-options {key}: {problem}')
    check_values(_read_parts(cfg))
    return notes


def check_config(cfg: Config) -> None:
    """Refuse what a config says to nobody: hooks' arguments and misspelt names.

    Args:
        cfg: The config.

    Raises:
        ValueError: If a hook has an argument that nothing reads, or a name at the top
            of the config is nearly one that the runner reads.
    """
    scope = cfg.get('default_scope')
    if scope not in (None, 'mmengine') and not has_scope(scope):
        near = nearest(scope, filter(find_spec, MODULE2PACKAGE))
        meant = f'; did you mean {near!r}?' if near else ''
        raise ValueError(f'default_scope: there is no library {scope!r} here{meant}')
    for field in ('default_hooks', 'custom_hooks'):
        for place, node in _typed_dicts(cfg.get(field), field):
            if place.count('.') == 1 and (problem := unread(node, place, scope)):
                raise ValueError(problem)
    _check_paramwise(cfg.get('optim_wrapper') or {}, scope)
    for name, value in cfg.items():
        near = '' if name in TOP_LEVEL else nearest(name, TOP_LEVEL, 0.85)
        other_split = {*name.split('_')} - {*near.split('_')} <= _SPLITS
        if near and not other_split and not _is_used(cfg, value):
            raise ValueError(
                f'nothing reads {name!r} at the top of the config; did you mean '
                f'{near!r}?'
            )


def _check_paramwise(wrapper: dict, scope: str | None) -> None:
    """Raise ``ValueError`` if no constructor reads what is said of parameters."""
    name = wrapper.get('constructor', DefaultOptimWrapperConstructor)
    given = wrapper.get('paramwise_cfg') or {}
    kinds = [kind for kind in find_types(name, scope) if isinstance(kind, type)]
    for kind in kinds[:1]:
        check_arguments(given, paramwise_names(kind), 'optim_wrapper.paramwise_cfg')
    for key, settings in (given.get('custom_keys') or {}).items():
        place = f'optim_wrapper.paramwise_cfg.custom_keys.{key}'
        check_arguments(settings, GROUP, place)


def find_unread(cfg: Config, argument: str) -> str:
    """Find where an argument stands in a config that its class does not take.

    Args:
        cfg: The config.
        argument: Its name.

    Returns:
        What is wrong, empty if nothing is found.
    """
    problems = (
        unread(node, place, cfg.get('default_scope'))
        for name, value in cfg.items()
        if name in TOP_LEVEL
        for place, node in _typed_dicts(value, name)
        if argument in node
    )
    return next(filter(None, problems), '')


def places_of_type(cfg: Config, name: str) -> list[str]:
    """Find the parts of a config that have a type.

    Args:
        cfg: The config.
        name: Name of the type, with or without scope.

    Returns:
        Their dotted keys.
    """
    wanted = name.rpartition('.')[2]
    return [
        place
        for place, node in _read_parts(cfg)
        if isinstance(node, dict) and bare_type(node) == wanted
    ]


def unread(node: dict, place: str, scope: str | None) -> str:
    """Compare a dict that has a type with the arguments of its class.

    Args:
        node: The dict.
        place: Its dotted key.
        scope: Default scope of the config.

    Returns:
        What is wrong, empty if all arguments are read.
    """
    kind = node.get('type')
    if not find_types(kind, scope):
        return ''
    reader = reader_of(place, node, scope)
    wrong = [name for name in node if reader.complete and name not in reader.names]
    if not wrong:
        return ''
    name = kind if isinstance(kind, str) else getattr(kind, '__name__', place)
    near = nearest(wrong[0], reader.names)
    advice = f'did you mean {near!r}?' if near and len(wrong) == 1 else 'leave out '
    if advice.endswith(' '):
        advice += ', '.join(f'{place}.{name}' for name in wrong)
        advice += ', or _delete_=True there if _base_ has them'
    words = ', '.join(map(repr, wrong))
    return f'{name} ({place}) has no argument {words}; {advice}'


def _check_option(cfg: Config, key: str, value: Any, options: dict) -> bool:
    """Raise unless an option has a place; whether it is known to be read."""
    scope, place, parts = cfg.get('default_scope'), '', key.split('.')
    node = raw_dict(cfg)
    _check_top(cfg, key)
    known, annotation = True, None
    for part in parts:
        path = f'{place}.{part}' if place else part
        if isinstance(node, list):
            if not part.isdecimal() or int(part) >= len(node):
                raise ValueError(
                    f'{place} is a list of {len(node)}, which has no {part!r}: count '
                    f'from 0 to {len(node) - 1}'
                )
            node = node[int(part)]
        elif isinstance(node, dict):
            known = _is_read(node, place, part, scope, options)
            annotation = reader_of(place, node, scope).names.get(part)
            node = node.get(part, {} if part not in _TEXTS else part)
        else:
            shown = 'a tuple: give it whole' if isinstance(node, tuple) else repr(node)
            raise ValueError(f'{place} has no parts, it is {shown}')
        place = path
    _check_value(place, node, value, scope)
    if isinstance(value, str) and annotation and not _takes_text(annotation):
        raise ValueError(f'{value!r} is no {annotation}')
    return known


def _check_top(cfg: Config, key: str) -> None:
    name, _, rest = key.partition('.')
    if name == 'custom_imports':
        raise ValueError('imports are done when the config is read: write them there')
    if name == 'launcher':
        raise ValueError('say --launcher')
    if name == 'data_preprocessor' and 'data_preprocessor' in (cfg.get('model') or {}):
        raise ValueError(f'nothing reads it, the model has its own: set model.{key}')
    if name in TOP_LEVEL:
        return
    last = key.rpartition('.')[2]
    if name in cfg:
        places = [f'{p}.{rest}' if rest else p for p in _places_of(cfg, name)]
        places = places or _homes(cfg, last)
        where = ', '.join(places[:6]) or 'what was made of it'
        raise ValueError(
            f'{name} was used up when the config was read, nothing reads it now; set '
            f'{where}'
        )
    near, homes = nearest(name, TOP_LEVEL), _homes(cfg, last)
    meant = f'{near}.{rest}' if rest else near
    if len(homes) in (1, 2, 3, 4) and meant not in homes:
        raise ValueError(f'nothing reads {name!r}; {last} is at {", ".join(homes)}')
    advice = f'; did you mean {meant}?' if near else ''
    raise ValueError(f'nothing reads {name!r}{advice}')


def _homes(cfg: Config, name: str) -> list[str]:
    """Where a name stands in what is read."""
    places = (place for place, _ in _read_parts(cfg))
    return [place for place in places if place.rpartition('.')[2] == name]


def _is_read(node, place, part, scope, options) -> bool:
    """Whether a name of a dict is read: True, not known (False), or an error."""
    if part in node:
        return True  # the config has it already
    if place in ('default_hooks',) and f'{place}.{part}.type' in options:
        return True  # a hook of the user's own
    reader = reader_of(place, node, scope)
    if f'{place}.type' in options or part in reader.names or part in ('type',):
        return True  # of a new type it is looked at when all is set
    if reader.complete:
        kind = node.get('type')
        name = getattr(kind, '__name__', kind) or place
        near = nearest(part, reader.names.keys() | node.keys())
        few = sorted(reader.names.keys() - {'type', '_scope_', '_delete_'})
        advice = f'did you mean {near!r}?' if near else f'it has {", ".join(few[:12])}'
        raise ValueError(f'{name} has no {part!r}; {advice}')
    if is_free(place):
        return True
    near = nearest(part, reader.names.keys() | node.keys(), _ALIKE)
    if near and near != part and part not in node:
        raise ValueError(f'{place} has no {part!r}; did you mean {near!r}?')
    return part in node


def _takes_text(annotation: Any) -> bool:
    """Whether a text may be given for an argument that is annotated."""
    words = set(re.findall(r'\w+', getattr(annotation, '__name__', str(annotation))))
    words -= {'typing', 'Optional', 'Union', 'class', 'NoneType', 'None'}
    return not words or not words <= {'int', 'float', 'bool'}


def _check_value(place: str, old: Any, new: Any, scope: str | None) -> None:
    """Refuse a value that takes the place of another kind of thing."""
    named = isinstance(new, str) and place.rpartition('.')[2] == 'arch'
    whole = named or new is None or isinstance(new, dict)
    if isinstance(old, dict) and old and not whole:
        first = next(iter(old))
        raise ValueError(
            f'{place} is a dict, {new!r} is none: set its parts, such as '
            f'{place}.{first}=...'
        )
    if isinstance(old, dict) and old and new == {}:
        raise ValueError('an empty dict changes nothing: dicts are merged')
    parts = old if isinstance(old, list | tuple) else ()
    if parts and isinstance(new, str) and ',' in new:
        raise ValueError(f'{place} is a list: write [{new}]')
    if any(isinstance(part, dict) for part in parts):
        if new is not None and not isinstance(new, list | tuple | dict):
            raise ValueError(
                f'{place} is a list of {len(parts)}, {new!r} is none: set its parts, '
                f'such as {place}.0.type=...'
            )
    if place in ('resume', 'find_unused_parameters') and not isinstance(new, bool):
        raise ValueError(f'it is True or False, not {new!r}')
    if place == 'log_level' and new not in _LEVELS:
        raise ValueError(f'log_level is one of {", ".join(_LEVELS)}, not {new}')
    if place.rpartition('.')[2] == 'type' and isinstance(new, str):
        if find_types(old, scope) and not find_types(new, scope):
            near = similar_type(new, old, scope)
            meant = f'; did you mean {near!r}?' if near else ''
            raise ValueError(f'there is no {new!r}{meant}')
    if isinstance(old, bool | int | float) and isinstance(new, str):
        if place.rpartition('.')[2] not in ('loss_scale', 'interpolation'):
            raise ValueError(f'{place} is {old!r} here, {new!r} is no such value')


def _changed_dicts(cfg: Config, key: str, value: Any) -> Iterator[tuple[str, dict]]:
    """The dicts with a type that an option has changed or set."""
    *parents, last = key.split('.')
    node, place = raw_dict(cfg), ''
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node[part]
        place = f'{place}.{part}' if place else part
    if last == 'type' and isinstance(node, dict):
        yield place, node
    if isinstance(value, dict | list | tuple):
        yield from _typed_dicts(
            node[int(last)] if isinstance(node, list) else node[last], key
        )


def _typed_dicts(node: Any, place: str) -> Iterator[tuple[str, dict]]:
    """All dicts with a type in a part of a config, and where they are."""
    for path, inner in _walk(node, place):
        if isinstance(inner, dict) and inner.get('type'):
            yield path, inner


def _walk(node: Any, place: str) -> Iterator[tuple[str, Any]]:
    yield place, node
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _walk(value, f'{place}.{name}')
    elif isinstance(node, list | tuple):
        for number, value in enumerate(node):
            yield from _walk(value, f'{place}.{number}')


def _read_parts(cfg: Config) -> Iterator[tuple[str, Any]]:
    """Everything below the names that something reads."""
    for name, value in cfg.items():
        if name in TOP_LEVEL:
            yield from _walk(value, name)


def _places_of(cfg: Config, name: str) -> Iterator[str]:
    """Where the value of a variable has gone when the config was read."""
    value, found = cfg[name], ''
    for place, node in _read_parts(cfg):
        if found and place.startswith(found):
            continue
        same_name = place.rpartition('.')[2] == name
        if isinstance(value, dict | list | tuple):
            here = bool(value) and type(node) is type(value) and _same(node, value)
        elif isinstance(value, str):
            here = isinstance(node, str) and bool(value) and value in node
        else:
            here = same_name and node == value
        if here:
            found = f'{place}.'
            yield place


def _same(node: Any, value: Any) -> bool:
    """Whether a node is a variable, or has been made of it by adding entries."""
    if isinstance(value, dict):
        items = value.items()
        return isinstance(node, dict) and all(node.get(k) == v for k, v in items)
    return node == value


def _is_used(cfg: Config, value: Any) -> bool:
    """Whether a variable has become part of something that is read."""
    if not isinstance(value, dict | list | tuple) or not value:
        return False
    return any(
        type(node) is type(value) and _same(node, value) for _, node in _read_parts(cfg)
    )
