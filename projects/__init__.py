"""What builds on dseq_mm from outside it.

Its name is ``dseq_mm.projects``, wherever it lies. Here, the name ``projects``, which
configs had before, leads to the same modules, so that nothing is registered twice.
"""

import sys
from importlib import import_module
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec


class _OldName(MetaPathFinder, InspectLoader):
    """Finds and loads ``projects.NAME`` as ``dseq_mm.projects.NAME``."""

    def find_spec(self, name, path=None, target=None):
        """Look for a module of a project; None for any other."""
        found = find_spec(_new(name)) if name.startswith('projects.') else None
        if found is None:
            return None
        is_package = found.submodule_search_locations is not None
        return ModuleSpec(name, self, origin=found.origin, is_package=is_package)

    def create_module(self, spec):
        """Import it under its new name; what import sets in it is kept for later."""
        module = import_module(_new(spec.name))
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module):
        """Leave the module as it is under its new name."""
        module.__spec__ = module.__spec__.loader_state

    def get_code(self, name):
        """Read the program that ``python -m`` asks for."""
        found = find_spec(_new(name))
        return found.loader.get_code(found.name)

    def get_source(self, name):
        """Read the text of a module."""
        found = find_spec(_new(name))
        return found.loader.get_source(found.name)


def _new(name):
    return f'dseq_mm.{name}'


sys.meta_path.insert(0, _OldName())
