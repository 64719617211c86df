"""Figures of the paper on our pages are those of ``dseq_mm.tables``."""

import re
from pathlib import Path

import pytest

from dseq_mm.runs.table import PAPER_HEADING
from dseq_mm.tables import TABLES
from dseq_mm.tables.paper import STEP_GFLOP, name_of

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / 'README.md',
    *sorted((ROOT / 'docs').rglob('*.md')),
    *sorted((ROOT / 'projects').rglob('*.md')),
]
ROWS = {row.label: row.paper for table in TABLES.values() for row in table.rows}
CONTRASTS = {
    contrast.label: contrast.paper
    for table in TABLES.values()
    for contrast in table.contrasts()
}
#: What the sentences of the pages call "in the paper", in their order.
SENTENCES = {
    'benchmarks.md': [
        CONTRASTS['C-JEPA - I-JEPA'],
        -CONTRASTS['DSeq-JEPA - DSeq-C-JEPA'],
        CONTRASTS['DSeq-C-JEPA - C-JEPA'],
        CONTRASTS['sequential - flat, discriminative'],
        CONTRASTS['discriminative - uniform, sequential'],
    ]
}
IN_THE_PAPER = re.compile(r'in\s+the\s+paper\s+(?:it\s+is\s+)?([+-]?\d+\.\d+)', re.I)


def tables(path):
    """The tables of a page, each as a list of rows of cells."""
    for block in re.findall(r'(?:^\|.*\n)+', path.read_text(), re.MULTILINE):
        lines = [line.strip().strip('|').split('|') for line in block.splitlines()]
        yield [[cell.strip() for cell in line] for line in lines]


def figure_of(label):
    """What stands in the paper's column beside a label."""
    label = label.removesuffix(', paired by seed')
    if label in ROWS:
        return '' if ROWS[label] is None else f'{ROWS[label]:.1f}'
    return '' if CONTRASTS[label] is None else f'{CONTRASTS[label]:+.1f}'


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_figures_of_the_paper_are_those_of_our_tables(page):
    for heading, _, *rows in tables(page):
        if heading[-1] == PAPER_HEADING:
            for label, *_, figure in rows:
                assert figure == figure_of(label), label
    said = IN_THE_PAPER.findall(page.read_text())
    assert said == [f'{figure:+.1f}' for figure in SENTENCES.get(page.name, [])]


def test_the_columns_are_found():
    found = [heading[-1] for page in PAGES for heading, *_ in tables(page)]
    assert found.count(PAPER_HEADING) == 7


def test_costs_of_the_paper_are_those_of_our_tables():
    (costs,) = [
        rows
        for heading, _, *rows in tables(ROOT / 'docs' / 'benchmarks.md')
        if heading[-1] == 'paper'
    ]
    shown = {row[0].partition(',')[0]: float(row[-1]) for row in costs if row[-1]}
    assert shown == {name_of(method): cost for method, cost in STEP_GFLOP.items()}
