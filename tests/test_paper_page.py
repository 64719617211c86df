"""Every figure of the paper has a command, or is named as missing."""

import re
import shlex
from pathlib import Path

from dseq_mm.tables import BUDGETS, TABLES, TASKS
from dseq_mm.tables.paper import ABLATIONS, FIGURES, name_of

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / 'docs/paper.md').read_text()
COLUMNS = dict(box='coco', mask='coco', miou='ade20k')
#: What no config exists for, by method and backbone.
MISSING = {
    ('NEPA', 'vitb14'): {'finetune', 'ade20k'},
    ('NEPA', 'vitl14'): {'finetune'},
}
CONFIGS = {path.stem for path in ROOT.glob('configs/*.py')}
CONFIGS |= {path.stem for path in ROOT.glob('projects/*/configs/*.py')}
TRANSFER = {path.stem for path in ROOT.glob('configs/transfer/*.py')}


def rows():
    """Method and backbone to start, tasks, and what is missing."""
    found = {}
    for line in re.findall(r'^\| .+ \| vit.+$', PAGE, re.MULTILINE):
        name, arch, start, tasks, missing = (c.strip() for c in line.split('|')[1:-1])
        names = set(tasks.strip('`').split(',')) - {'none yet'}
        found[name, arch] = start, names, set(filter(None, missing.split(', ')))
    return found


def test_every_figure_has_its_row_and_task():
    page = rows()
    assert len(page) == len(FIGURES)
    for (method, arch), figures in FIGURES.items():
        start, tasks, missing = page[name_of(method), arch]
        wanted = {COLUMNS.get(column, column) for column in figures} - {'epochs'}
        assert tasks | missing == wanted and not tasks & missing, method
        assert missing == MISSING.get((method, arch), set()), method
        if start.startswith('`'):
            assert start.strip('`') in CONFIGS
        else:
            assert start.startswith('published weights') or method == 'NEPA'
        for task in tasks:
            assert TASKS[task].config.format(arch=arch) in TRANSFER, task


def test_every_ablation_of_the_paper_is_in_a_table_of_the_page():
    named = set(re.findall(r'tools/ablate\.py ([\w-]+) --budget (\w+)', PAGE))
    assert {budget for _, budget in named} == {'vitb16_600e'} <= BUDGETS.keys()
    configs = {
        row.config for table, _ in named for row in TABLES[table].rows if row.config
    }
    for name in ABLATIONS:
        assert f'ablations/{name}' in configs, name


def test_tools_of_the_page_are_there_and_know_their_words():
    for command in re.findall(r'`(python tools/[^`]+)`', PAGE):
        tool = shlex.split(command)[1]
        assert (ROOT / tool).is_file(), tool
    kinds = re.findall(r'tools/visualize\.py (\w+)', PAGE)
    source = (ROOT / 'tools/visualize.py').read_text()
    assert kinds and all(f"    '{kind}': " in source for kind in kinds)
