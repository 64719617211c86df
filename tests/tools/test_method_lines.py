"""Lines that are specific to each method."""

import ast
import importlib.util
import textwrap
from pathlib import Path

import pytest

from dseq_mm import models

PATH = Path(__file__).parents[2] / 'tools' / 'benchmarks' / 'method_lines.py'


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('method_lines', PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_code_is_counted_and_words_are_not(tool):
    text = textwrap.dedent('''\
        """A docstring
        of two lines."""

        import os  # one

        # a comment
        @os.decorator
        class A:
            """A docstring."""

            x = (
                # a comment

                1
            )

            def f(self):
                """A docstring."""
                return """not a
                docstring"""
    ''')
    lines = text.splitlines()
    counted = tool.code_lines(ast.parse(text), lines)
    assert [lines[number - 1].strip() for number in sorted(counted)] == [
        'import os  # one', '@os.decorator', 'class A:', 'x = (', '1', ')',
        'def f(self):', 'return """not a', 'docstring"""',
    ]  # fmt: skip


def test_the_page_shows_what_is_counted(tool, capsys):
    tool.main([])
    page = (PATH.parents[2] / 'docs' / 'method.md').read_text(encoding='utf-8')
    assert capsys.readouterr().out in page


def test_all_methods_share_the_step(tool):
    shared, own = tool.count_algorithm()
    assert sum(own.values()) < shared
    for name in own:
        step = ('loss', 'encode_context', 'latent_loss', '__init__')
        assert not set(step) & set(vars(getattr(models, name))), name
