"""The kept logs of real trainings: the alarm is silent on the healthy ones alone."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.logging import MessageHub

from dseq_mm.engine import AlarmHook

LOGS = Path(__file__).resolve().parents[2] / 'docs/logs'
EXPECTED = dict(
    healthy=set(),
    healthy_seed7=set(),
    healthy_ijepa=set(),
    collapse={'target_std', 'target_cosine', 'rank_me'},
    frozen_target={'ema_momentum'},
)


def test_all_are_here():
    assert {path.stem for path in LOGS.glob('*.json')} == EXPECTED.keys()


@pytest.mark.parametrize('name', EXPECTED)
def test_what_rings(name, monkeypatch):
    lines = (LOGS / f'{name}.json').read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if 'iter' in row]
    hub, said = MessageHub(f'kept_{name}'), []
    runner = SimpleNamespace(
        message_hub=hub, logger=SimpleNamespace(warning=said.append)
    )
    hook = AlarmHook(interval=1)  # each row is one look
    for row in rows:
        for key, value in row.items():
            hub.update_scalar(f'train/{key}', value)
        runner.iter = row['iter']
        share = row['iter'] / rows[-1]['iter']
        monkeypatch.setattr(
            'dseq_mm.engine.alarm_hook.progress_of', lambda _, share=share: share
        )
        hook.after_train_iter(runner, 0)
    rung = {line.split(': ')[1].split(' is ')[0] for line in said}
    assert rung == EXPECTED[name]
    if name == 'collapse':  # long before a probe would tell
        assert 'iteration 1' in said[0] and rows[0]['iter'] == 10
