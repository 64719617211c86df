"""Lines that are specific to each method."""

import ast
import importlib.util
import textwrap
from pathlib import Path

import pytest

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


def test_all_methods_share_the_algorithm(tool, capsys):
    tool.main([])
    rows = [
        [cell.strip() for cell in line.split('|')[1:-1]]
        for line in capsys.readouterr().out.splitlines()[2:]
    ]
    assert [row[0] for row in rows] == ['shared by all', *tool.METHODS]
    shared, *own = (int(row[1]) for row in rows)
    assert 0 < sum(own) < shared
    assert all(int(row[2]) > 0 for row in rows if row[3])
