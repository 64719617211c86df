"""Tools that only pretend, and a small table."""

import json
import sys
import textwrap
from types import SimpleNamespace

import pytest

from dseq_mm.evaluation.ablation import (
    Contrast,
    Row,
    Study,
    Table,
    plan_trials,
    write_tables,
)

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
    train="""
        work = pathlib.Path(option('--work-dir'))
        work.mkdir(parents=True, exist_ok=True)
        shutil.copy(os.environ['STUB_CHECKPOINT'], work / 'epoch_1.pth')
        (work / 'last_checkpoint').write_text('elsewhere/epoch_1.pth')
    """,
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
DSEQ = Row('DSeq', 'dseq_{budget}', 73.5)
IJEPA = Row('I-JEPA', 'ijepa_{budget}', 72.4)
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

    def plan(seeds=(0, 1), budget='digitscenes_20e', **settings):
        return plan_trials([TABLE], budget, seeds, out, **settings)

    def carry_out(trials, budget='digitscenes_20e', **places):
        said.clear()
        return Study(tools, **places).carry_out(
            trials,
            dict(python='3.x'),
            said.append,
            lambda: write_tables({'t': TABLE}, budget, trials, out),
        )

    def run(seeds=(0, 1), budget='digitscenes_20e', places=None, **settings):
        trials, _ = plan(seeds, budget, **settings)
        good = carry_out(trials, budget, **(places or {}))
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
        carry_out=carry_out,
        run=run,
        calls=made,
        table=lambda: (out / 't.md').read_text(),
    )
