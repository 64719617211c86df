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


def rows(text):
    """Cells of the rows of the table, without its head."""
    lines = text[text.index('| method | lines in ') :].split('\n\n')[0].splitlines()
    return [[cell.strip() for cell in line.split('|')[1:-1]] for line in lines[2:]]


def test_the_page_shows_about_what_is_counted(tool, capsys):
    tool.main([])
    counted = rows(capsys.readouterr().out)
    shown = rows((PATH.parents[2] / 'docs' / 'method.md').read_text(encoding='utf-8'))
    assert [(row[0], row[3]) for row in shown] == [(row[0], row[3]) for row in counted]
    for ours, theirs in zip(shown, counted, strict=True):
        for column in (1, 2):
            # a line more or less does not make the page wrong
            near = pytest.approx(int(theirs[column]), rel=0.15, abs=3)
            assert int(ours[column]) == near, ours[0]


@pytest.mark.parametrize('name', ['IJEPA', 'DSeqJEPA', 'CJEPA', 'DSeqCJEPA'])
def test_a_method_of_the_paper_is_a_choice_of_parts(tool, name):
    assert tool.count_algorithm()[1][name] <= 5


def test_all_methods_share_the_step(tool):
    shared, own = tool.count_algorithm()
    assert sum(own.values()) < shared
    for name in own:
        step = ('loss', 'encode_context', 'latent_loss', '__init__')
        assert not set(step) & set(vars(getattr(models, name))), name
