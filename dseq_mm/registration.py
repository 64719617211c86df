"""Register the parts of the package as soon as the host is there.

A config, a tool or a script must find all parts after ``import dseq_mm``, whatever
else is imported, and in whatever order. But the plan, the regions and the doctor need
no host, and Python imports ``dseq_mm`` before ``dseq_mm.plan``. So where the host has
been imported already, as wherever a config's ``custom_imports`` are done, the parts are
registered at once; elsewhere they are at the end of the import that brings the host.

Nothing is imported here that needs more than Python's own modules.
"""

import os
import sys
import warnings
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

from .utils.command import quietly
from .utils.stack import check_stack

_OURS = f'{__package__}.'
_HOST = 'mmengine'
#: Libraries that import the host amid their own import.
_WATCHED = (_HOST, 'mmcv', 'mmpretrain', 'mmdet', 'mmseg')


def register_all() -> None:
    """Register every part of the package.

    A second call does nothing.

    Raises:
        ImportError: If what is installed will not do, with the commands that mend it.
    """
    check_stack()
    with quietly():
        from . import data, engine, evaluation, models, regions, transfer  # noqa: F401
    from .transfer.classifier import install_classifier_filter, register_models
    from .utils.configs import register_config_scopes

    install_classifier_filter()
    register_models()
    register_config_scopes()


def register_with_host() -> None:
    """Register every part now if the host was imported, else as soon as it is.

    Raises:
        ImportError: If what is installed will not do, with the commands that mend it.
    """
    if _HOST in sys.modules or find_spec('torch') is None:
        register_all()
    elif not any(isinstance(finder, _Watch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watch())


def registers_by_itself() -> bool:
    """Tell whether this program registers the parts when it needs them, if ever.

    Returns:
        True for the doctor and for ``dseq-mm``: they must come up where nothing is
        installed.
    """
    if sys.argv[0] != '-m':  # which it is while Python looks for the module to run
        return os.path.splitext(os.path.basename(sys.argv[0]))[0] == 'dseq-mm'
    names = (__package__, f'{_OURS}doctor')
    words = {*names, *(f'-m{name}' for name in names)}
    return not words.isdisjoint(sys.orig_argv)


class _Watch(MetaPathFinder):
    """Register at the end of the first import after which the host is there.

    It counts the imports that are under way, of the host's libraries and of our own
    modules: amid one of them, some modules would be there in part.
    """

    def __init__(self) -> None:
        self.under_way = 0

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        """Let the other finders find a module; be told when it is executed.

        Args:
            name: Full name of the module.
            path: Where to look, as Python says it.
            target: As Python says it.

        Returns:
            What the others found; None for modules that are not watched.
        """
        if name not in _WATCHED and not name.startswith(_OURS):
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            self._watch(spec.loader)
        return spec

    def _watch(self, loader) -> None:
        """Have a loader execute its next module under :meth:`_execute`."""
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            """Execute one module, and leave the loader as it was."""
            del loader.exec_module
            self._execute(execute, module)

        loader.exec_module = exec_module

    def _execute(
        self, execute: Callable[[ModuleType], None], module: ModuleType
    ) -> None:
        """Execute a module, and register all parts if no other is under way."""
        outermost = self.under_way == 0 and self in sys.meta_path
        self.under_way += 1
        try:
            if not outermost:
                execute(module)
            elif module.__name__.startswith(_OURS):
                self._import_ours(execute, module)
            else:
                execute(module)
                self._follow_host()
        finally:
            self.under_way -= 1

    def _import_ours(
        self, execute: Callable[[ModuleType], None], module: ModuleType
    ) -> None:
        try:
            with quietly():
                execute(module)
        except ImportError:
            check_stack()  # says what to do, if that is the reason
            raise
        self._register()

    def _follow_host(self) -> None:
        try:
            self._register()
        except ImportError as error:  # who imports the host may not need our parts
            warnings.warn(str(error), stacklevel=2)

    def _register(self) -> None:
        if _HOST in sys.modules:
            register_all()
            sys.meta_path.remove(self)
