"""Tools that only pretend, and a small table."""

import json
import re
import sys
import textwrap
from types import SimpleNamespace

import pytest

from dseq_mm.runs import Engine, Study, plan_study
from dseq_mm.runs.study_table import write_tables
from dseq_mm.tables import BUDGETS, Contrast, Row, Table
from tests.runs.stubs import TRAIN

HEAD = """\
import json, os, pathlib, shutil, sys
arguments = sys.argv[1:]
def option(name):
    return arguments[arguments.index(name) + 1]
names = ('DSEQ_BUDGET', 'CUDA_VISIBLE_DEVICES', 'PORT')
with open({calls!r}, 'a') as file:
    found = {{name: os.environ.get(name) for name in names}}
    file.write(json.dumps([{name!r}, found, arguments]) + chr(10))
if os.environ.get('STUB_FAIL') and os.environ['STUB_FAIL'] in ' '.join(sys.argv):
    sys.exit('the stub was told to fail')
"""
STUBS = dict(
    train=TRAIN,
    knn="""
        values = {'knn_last': 1.0, 'linear_last': 91.0}
        if '--init' in arguments:
            values = {'knn_last': 2.0 + int(option('--seed')), 'linear_last': 3.0}
        elif '--raw-pixels' not in arguments:
            path = pathlib.Path(arguments[1])
            assert path.name == 'epoch_1.pth' and path.is_file()
            seed = int(path.parts[-3].removeprefix('seed'))
            own = {'dseq': 80.0, 'ijepa': 70.0}[path.parts[-4]]
            values = {'knn_last': own + 2 * seed, 'linear_last': own - seed}
        values.update(json.loads(os.environ.get('STUB_METRICS', '{}')))
        if not os.environ.get('STUB_SILENT'):
            pathlib.Path(option('--out')).write_text(json.dumps(values))
    """,
    evaluate="""
        out = pathlib.Path(option('--out'))
        out.mkdir(exist_ok=True)
        rows = [dict(task='knn', key='knn_last', mean=1.5),
                dict(task='linear', key='accuracy/top1', mean=2.5)]
        (out / 'table.json').write_text(json.dumps(dict(rows=rows)))
    """,
)
DSEQ = Row('DSeq', 'dseq_{budget}', 55.5)
IJEPA = Row('I-JEPA', 'ijepa_{budget}', 54.4)
TABLE = Table(
    'two methods',
    (
        DSEQ,
        IJEPA,
        Row('nothing', 'nothing_{budget}'),
        Row('before', 'dseq_{budget}', start='init'),
        Row('pixels', 'dseq_{budget}', start='pixels'),
    ),
    (Contrast('gain', (DSEQ,), (IJEPA,)),),
)


@pytest.fixture
def bench(tmp_path):
    """Plans and carries out studies with the pretending tools."""
    tools, calls = tmp_path / 'tools', tmp_path / 'calls.jsonl'
    tools.mkdir()
    for name, body in STUBS.items():
        head = HEAD.format(calls=str(calls), name=name)
        (tools / f'{name}.py').write_text(head + textwrap.dedent(body))
    (tools / 'dist_train.sh').write_text(
        f'exec {sys.executable} {tools / "train.py"} "$@"\n'
    )
    out, said = tmp_path / 'out', []

    def study(seeds=(0, 1), budget='digitscenes_20e', **settings):
        return Study(budget, BUDGETS[budget], out, tools, seeds, **settings)

    def plan(seeds=(0, 1), budget='digitscenes_20e', **settings):
        return plan_study(study(seeds, budget, **settings), [TABLE])

    def carry_out(jobs, asked=None, **places):
        said.clear()
        engine = Engine(**places, versions=dict(python='3.x'), say=said.append)
        asked = asked or study()
        return engine.run(jobs, lambda: write_tables(asked, {'t': TABLE}, jobs))

    def run(seeds=(0, 1), budget='digitscenes_20e', places=None, **settings):
        asked = study(seeds, budget, **settings)
        jobs, _ = plan_study(asked, [TABLE])
        good = carry_out(jobs, asked, **(places or {}))
        return good, json.loads((out / 't.json').read_text())['rows']

    def made():
        lines = calls.read_text().splitlines() if calls.exists() else []
        calls.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]

    return SimpleNamespace(
        tools=tools,
        out=out,
        said=said,
        plan=plan,
        study=study,
        carry_out=carry_out,
        run=run,
        calls=made,
        table=lambda: re.sub(' +', ' ', (out / 't.md').read_text()),
    )
