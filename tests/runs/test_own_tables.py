"""Tables that a user hands in."""

import pytest

from dseq_mm import tables
from dseq_mm.runs import add_tables, own_tables

FILE = """
from dseq_mm.tables import Budget, Contrast, Metric, Row, Table, Task
MINE, OTHER = Row('mine', 'mine_{budget}.py'), Row('DSeq-JEPA', 'dseq_{budget}')
TABLES = {'mine': Table('mine against DSeq-JEPA', (MINE, OTHER))}
BUDGETS = {'short': Budget('a short one')}
TASKS = {'pets': Task('pets', 'Oxford-IIIT Pets', (Metric('accuracy/top1', 'top-1'),),
                      'pets_{arch}.py')}
"""


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """What the package knows, unchanged afterwards."""
    kinds = {
        name: ({**values}, kind) for name, (values, kind) in own_tables._KINDS.items()
    }
    monkeypatch.setattr(own_tables, '_KINDS', kinds)
    return {name: values for name, (values, _) in kinds.items()}


def test_what_a_file_defines_is_added(tmp_path, known):
    (tmp_path / 'tables.py').write_text(FILE)
    for name in ('mine_short.py', 'pets_vitb16.py'):
        (tmp_path / name).touch()
    assert add_tables(tmp_path / 'tables.py') == ['mine']
    rows = known['TABLES']['mine'].rows
    assert rows[0].config == str(tmp_path / 'mine_{budget}.py')
    assert rows[1].config == 'dseq_{budget}' and rows[0].name == 'mine'
    assert [c.label for c in known['TABLES']['mine'].contrasts()] == [
        'mine - DSeq-JEPA'
    ]
    assert known['BUDGETS']['short'].words == 'a short one'
    assert known['TASKS']['pets'].config == str(tmp_path / 'pets_{arch}.py')
    assert 'mine' not in tables.TABLES and 'pets' not in tables.TASKS


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a = 1', 'defines none of TABLES, BUDGETS, TASKS'),
        ('TABLES = 1 / 0', 'ZeroDivisionError'),
        ('TABLES = [', 'SyntaxError|was never closed'),
        ('TABLES = []', 'TABLES is a dict of names'),
        ('TABLES = {1: 2}', 'TABLES is a dict of names'),
        ("TASKS = {'pets': 3}", r"TASKS\['pets'\] is no Task"),
        (FILE.replace("{'mine'", "{'order'"), "the name 'order' is taken"),
        (FILE.replace("'mine_{budget}.py'", "'a', start='int'"), "start='int': give"),
        (FILE.replace("Row('mine'", "Row('DSeq-JEPA'"), 'two rows of one label'),
        (
            FILE.replace(
                'OTHER))', "MINE), (Contrast('d', (MINE,), (OTHER,)),))"
            ).replace('(MINE, MINE)', '(MINE,)'),
            "no row 'DSeq-JEPA', of which the difference 'd' is",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, text, message):
    (tmp_path / 'tables.py').write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        add_tables(tmp_path / 'tables.py')
    assert '\n' not in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match='there is no such file'):
        add_tables(tmp_path / 'none.py')
