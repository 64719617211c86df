"""The alarm rings for each sign, once, and not for healthy numbers."""

from types import SimpleNamespace

import pytest
from mmengine.logging import MessageHub

from dseq_mm.engine import AlarmHook, TrainingAlarm

HEALTHY = dict(
    loss=0.4,
    target_std=0.9,
    target_cosine=0.2,
    flat_maps=0.0,
    data_wait=0.2,
    saliency_auc=0.8,
    rank_me=20.0,
    ema_momentum=0.997,
)


@pytest.fixture
def run(request):
    """Feed numbers to the hook; what it says."""
    hub = MessageHub(f'{request.node.name}')

    def feed(hook, iterations=100, progress=0.1, **changes):
        said = []
        runner = SimpleNamespace(
            message_hub=hub, logger=SimpleNamespace(warning=said.append)
        )
        runner.train_loop = SimpleNamespace(max_iters=10**6, max_epochs=1)
        for runner.iter in range(iterations):
            for name, value in {**HEALTHY, **changes}.items():
                value = value(runner.iter) if callable(value) else value
                if value is not None:
                    mode = 'val' if name == 'saliency_auc' else 'train'
                    hub.update_scalar(f'{mode}/{name}', value)
            hook.after_train_iter(runner, runner.iter)
        return said

    return feed


@pytest.fixture(autouse=True)
def place(monkeypatch):
    """How much of the training is done."""
    monkeypatch.setattr('dseq_mm.engine.alarm_hook.progress_of', lambda runner: 0.1)


def test_healthy_numbers_ring_nothing(run):
    assert run(AlarmHook()) == []


@pytest.mark.parametrize(
    ('changes', 'name', 'words'),
    [
        (dict(target_std=0.01), 'target_std', 'has collapsed'),
        (dict(target_cosine=0.97), 'target_cosine', 'is collapsing'),
        (dict(rank_me=1.1), 'rank_me', 'partial collapse'),
        (dict(rank_me=lambda i: 20 if i < 60 else 8), 'rank_me', 'partial collapse'),
        (dict(flat_maps=0.8), 'flat_maps', 'maps are flat'),
        (dict(saliency_auc=0.23), 'saliency_auc', 'points at the ground'),
        (dict(data_wait=0.9), 'data_wait', 'num_workers'),
        (dict(ema_momentum=1.0), 'ema_momentum', 'does not move'),
        (dict(loss=lambda i: 0.4 if i < 60 else 9.0), 'loss', 'diverges'),
    ],
)
def test_each_sign_rings_once(run, changes, name, words):
    (line,) = run(AlarmHook(), 300, **changes)
    assert words in line and f': {name} is ' in line and 'docs/log.md' in line


def test_within_fifty_iterations(run):
    assert run(AlarmHook(), 50, target_std=0.01)
    assert not run(AlarmHook(), 49, target_std=0.01)


def test_a_still_average_is_right_at_the_end(run, monkeypatch):
    monkeypatch.setattr('dseq_mm.engine.alarm_hook.progress_of', lambda runner: 0.99)
    assert run(AlarmHook(), ema_momentum=1.0) == []


def test_what_is_not_logged_rings_nothing(run):
    assert run(AlarmHook(), **dict.fromkeys(HEALTHY)) == []


def test_it_stops_if_it_is_asked_to(run):
    with pytest.raises(TrainingAlarm, match='Alarm at iteration 50: target_std'):
        run(AlarmHook(stop=True), target_std=0.0)


def test_wrong_arguments():
    for changes in (dict(interval=0), dict(interval=1.5), dict(grown=1.0)):
        with pytest.raises(ValueError, match='AlarmHook takes'):
            AlarmHook(**changes)
