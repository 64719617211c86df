"""Which arguments a class of a config reads, down to where its ``**kwargs`` go."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.model import BaseAveragedModel, ExponentialMovingAverage
from mmengine.registry import root
from mmengine.registry.registry import Registry
from mmengine.runner import Runner

from .command import nearest, quietly

#: Keys beside the arguments that the registries take out of a dict with a type.
RESERVED = ('type', '_scope_', '_delete_')
#: Where the ``**kwargs`` of a class go if it does not pass them to its parents.
_REST: dict[type, tuple[Callable, ...]] = {
    CheckpointHook: (Runner.save_checkpoint,),
    EMAHook: (ExponentialMovingAverage.__init__, BaseAveragedModel.__init__),
}


class Arguments(NamedTuple):
    """The arguments of a class or function.

    Args:
        names: Each name with its annotation.
        complete: False if there is no telling which others are read.
    """

    names: dict[str, Any]
    complete: bool


@cache
def arguments_of(kind: Callable) -> Arguments:
    """Find out which keyword arguments a class or function reads.

    Args:
        kind: A class or function.

    Returns:
        The arguments. Those that a class passes on as ``**kwargs`` are looked for in
        its parents, and those that it takes out of them one by one are counted.
    """
    names: dict[str, Any] = {}
    for function in _initializers(kind):
        own, rest = _read_function(function)
        names = own | names
        if rest == 'none':
            return Arguments(names, complete=True)
        if rest == 'elsewhere':
            further = [f for cls, f in _REST.items() if issubclass_of(kind, cls)]
            for target in (target for targets in further for target in targets):
                names = _read_function(target)[0] | names
            return Arguments(names, complete=bool(further))
    return Arguments(names, complete=True)


def check_arguments(
    given: Any, taken_by: Callable | Collection[str], name: str
) -> None:
    """Refuse a dict of options that has one which nothing reads.

    Args:
        given: The dict.
        taken_by: The class or function that gets them as keyword arguments, or the
            names that are read.
        name: What the user calls the dict.

    Raises:
        ValueError: If it is no dict, or has such an option; with the nearest name.
    """
    if not isinstance(given, dict):
        raise ValueError(f'{name} is a dict of options, not {given!r}')
    if callable(taken_by):
        arguments = arguments_of(taken_by)
        if not arguments.complete:
            return
        taken_by = arguments.names
    wrong = next((option for option in given if option not in taken_by), None)
    if wrong is None:
        return
    near = nearest(str(wrong), taken_by)
    advice = f'did you mean {near!r}?' if near else f'it has {", ".join(taken_by)}'
    raise ValueError(f'{name} has no argument {wrong!r}; {advice}')


def issubclass_of(kind: Any, parent: type) -> bool:
    """Tell whether something is a class below another, whatever it is.

    Args:
        kind: Anything.
        parent: A class.

    Returns:
        True if it is.
    """
    return isinstance(kind, type) and issubclass(kind, parent)


def _initializers(kind: Callable) -> Iterator[Callable]:
    """What is called in turn as far as each passes its arguments on."""
    if not isinstance(kind, type):
        yield kind
        return
    for cls in kind.__mro__:
        if cls is not object and '__init__' in vars(cls):
            yield vars(cls)['__init__']


@cache
def _read_function(function: Callable) -> tuple[dict[str, Any], str]:
    """Arguments of a function; and where others go: none, parents or elsewhere."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # written in C
        return {}, 'elsewhere'
    kinds = inspect.Parameter
    named = (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)
    names = {n: p.annotation for n, p in parameters.items() if p.kind in named}
    names.pop('self', None)
    rest = [n for n, p in parameters.items() if p.kind is kinds.VAR_KEYWORD]
    if not rest:
        return names, 'none'
    try:
        source = textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
        tree = ast.parse(source)
    except (OSError, TypeError, SyntaxError):
        return names, 'elsewhere'
    taken, where = _follow(tree, rest[0])
    return names | dict.fromkeys(taken, inspect.Parameter.empty), where


def _follow(tree: ast.AST, rest: str) -> tuple[set[str], str]:
    """What a function takes out of its ``**rest``, and where it passes the others."""
    taken: set[str] = set()
    explained, passed = 0, False
    for node in ast.walk(tree):
        key = None
        if isinstance(node, ast.Call):
            if _is_name(getattr(node.func, 'value', None), rest) and node.args:
                key = node.args[0]  # kwargs.pop('name')
            given = any(
                k.arg is None and _is_name(k.value, rest) for k in node.keywords
            )
            passed = passed or (given and getattr(node.func, 'attr', '') == '__init__')
        elif isinstance(node, ast.Subscript) and _is_name(node.value, rest):
            key = node.slice
        elif isinstance(node, ast.Compare) and _is_name(node.comparators[-1], rest):
            key = node.left
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            taken.add(key.value)
            explained += 1
    if passed:  # who else sees them does not read what the parents refuse
        return taken, 'parents'
    used = sum(_is_name(node, rest) for node in ast.walk(tree))
    return taken, 'none' if used == explained else 'elsewhere'


def _is_name(node: Any, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


#: mmengine's registries of what a config builds; those of the libraries are below.
_REGISTRIES = (
    root.HOOKS,
    root.MODELS,
    root.DATASETS,
    root.TRANSFORMS,
    root.DATA_SAMPLERS,
    root.FUNCTIONS,
    root.METRICS,
    root.EVALUATOR,
    root.OPTIMIZERS,
    root.OPTIM_WRAPPERS,
    root.OPTIM_WRAPPER_CONSTRUCTORS,
    root.PARAM_SCHEDULERS,
    root.TASK_UTILS,
    root.LOOPS,
    root.VISUALIZERS,
    root.VISBACKENDS,
    root.LOG_PROCESSORS,
    root.MODEL_WRAPPERS,
    root.RUNNERS,
    root.WEIGHT_INITIALIZERS,
)
#: Our registries and mmpretrain's look into each other.
_KIN = {'mmpretrain': 'dseq_mm', 'dseq_mm': 'mmpretrain'}


def find_types(name: Any, scope: str | None = None) -> list[Callable]:
    """Find what a ``type`` of a config may mean.

    Args:
        name: Name of a registered class or function, with or without scope; or the
            class itself.
        scope: Default scope of the config.

    Returns:
        One for each registry that has it.
    """
    if not isinstance(name, str):
        return [name] if callable(name) else []
    found = []
    for registry in registries(scope):
        try:
            with quietly():  # it imports what the library registers
                kind = registry.get(name)
        except (RuntimeError, ImportError):
            continue
        if callable(kind) and kind not in found:
            found.append(kind)
    return found


def registries(scope: str | None) -> list[Registry]:
    """List the registries that a config's types are looked for in.

    Args:
        scope: Default scope of the config.

    Returns:
        Those of that library, mmengine's where it has none.
    """
    with suppress(ImportError), quietly():
        import_module(f'{scope}.registry')
    return [registry.children.get(scope, registry) for registry in _REGISTRIES]


def has_scope(scope: str) -> bool:
    """Tell whether a library has registries, or somebody has made some of that name.

    Args:
        scope: The name.

    Returns:
        True if it has.
    """
    return any(registry.scope == scope for registry in registries(scope))


def similar_type(name: str, old: Any, scope: str | None) -> str:
    """Find the registered name that was meant.

    Args:
        name: What was written.
        old: A type of the same kind, or of an unknown one if it is not registered.
        scope: Default scope of the config.

    Returns:
        The nearest name; empty if none is near.
    """
    places = registries(scope)
    if isinstance(old, str):
        same = [r for r in places if _registered(r, old.rpartition('.')[2])]
        places = same or places
    known = {n for place in places for r in _lineage(place) for n in r.module_dict}
    return nearest(name.rpartition('.')[2], known)


def _registered(registry: Registry, name: str) -> bool:
    return any(name in each.module_dict for each in _lineage(registry))


def _lineage(registry: Registry | None) -> Iterator[Registry]:
    """Registries in which bare names are looked for."""
    while registry is not None:
        yield registry
        if registry.parent and (kin := _KIN.get(registry.scope)):
            yield from filter(None, [registry.parent.children.get(kin)])
        registry = registry.parent
