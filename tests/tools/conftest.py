"""The tools as modules."""

import importlib.util
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / 'tools'


@pytest.fixture
def load_tool():
    """A function that imports ``tools/NAME.py`` under a name of its own."""

    def load(name):
        spec = importlib.util.spec_from_file_location(
            f'tool_{name}', TOOLS / f'{name}.py'
        )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
