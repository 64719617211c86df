"""kNN against a loop, its invariances, and the evaluation of a whole config."""

import json
import math
import runpy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config

from dseq_mm.evaluation import knn
from dseq_mm.evaluation.knn import (
    evaluate_config,
    extract_config,
    hook_settings,
    knn_accuracy,
    knn_metrics,
)

TOOL = str(Path(__file__).parents[2] / 'tools' / 'knn.py')


def loop_knn(bank, labels, queries, truth, k, temperature, num_classes):
    """Share of queries whose class is first, and among the first five."""
    hits = [0, 0]
    for query, right in zip(queries.tolist(), truth.tolist(), strict=True):
        scored = []
        for row, label in zip(bank.tolist(), labels.tolist(), strict=True):
            dot = sum(a * b for a, b in zip(query, row, strict=True))
            scored.append((dot / math.hypot(*query) / math.hypot(*row), label))
        votes = [0.0] * num_classes
        for cosine, label in sorted(scored, reverse=True)[:k]:
            votes[label] += math.exp(cosine / temperature)
        order = sorted(range(num_classes), key=lambda c: -votes[c])
        hits[0] += order[0] == right
        # a class without any vote has no place in the ranking
        hits[1] += right in [c for c in order[:5] if votes[c] > 0]
    return [100 * hit / len(queries) for hit in hits]


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    k=st.integers(1, 12),
    temperature=st.sampled_from([0.02, 0.07, 1.0]),
    num_classes=st.sampled_from([2, 5, 7]),
)
def test_loop_oracle(seed, k, temperature, num_classes):
    generator = torch.Generator().manual_seed(seed)
    bank, queries = torch.randn(32, 6, generator=generator).split([12, 20])
    labels = torch.randint(num_classes, (32,), generator=generator)
    got = knn_accuracy(
        bank, labels[:12], queries, labels[12:], k, temperature, num_classes
    )
    expected = loop_knn(
        bank, labels[:12], queries, labels[12:], k, temperature, num_classes
    )
    assert got['top1'] == pytest.approx(expected[0], abs=1e-3)
    assert ('top5' in got) == (num_classes > 5)
    if num_classes > 5:
        assert got['top5'] == pytest.approx(expected[1], abs=1e-3)


def test_invariances(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    bank = torch.randn(40, 8, generator=generator)
    labels = torch.randint(4, (40,), generator=generator)
    assert knn_accuracy(bank, labels, bank, labels, k=1)['top1'] == 100
    queries = bank[:30] + 0.5 * torch.randn(30, 8, generator=generator)
    truth = labels[:30]
    reference = knn_accuracy(bank, labels, queries, truth, k=5)
    assert 50 < reference['top1'] < 100
    scale = torch.rand(40, 1, generator=generator) + 0.1
    assert knn_accuracy(bank * scale, labels, 3 * queries, truth, k=5) == reference
    order = torch.randperm(40, generator=generator)
    assert knn_accuracy(bank[order], labels[order], queries, truth, k=5) == reference
    monkeypatch.setattr(knn, 'CHUNK', 7)
    assert knn_accuracy(bank, labels, queries, truth, k=5) == reference
    # a temperature at which exp(cosine / temperature) itself overflows
    assert knn_accuracy(bank, labels, bank, labels, 3, temperature=1e-3)['top1'] == 100


def test_wrong_arguments():
    bank, labels = torch.eye(4), torch.arange(4)
    for changes in (dict(k=5), dict(k=0), dict(k=2, temperature=0.0)):
        with pytest.raises(ValueError):
            knn_accuracy(bank, labels, bank, labels, **changes)
    with pytest.raises(ValueError, match='at least one query'):
        knn_accuracy(bank, labels, bank[:0], labels[:0], k=1)


def test_only_the_bank():
    bank = dict(last=torch.eye(4), labels=None)
    metrics = knn_metrics(bank, None)
    assert metrics.keys() == {'rank_me', 'feature_std'}
    assert metrics['rank_me'] == pytest.approx(4)
    with pytest.raises(ValueError, match='needs labels'):
        knn_metrics(bank, dict(last=torch.eye(4), labels=torch.arange(4)), k=1)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@pytest.mark.parametrize('part', ['bank', 'queries'])
def test_features_that_are_not_finite(value, part):
    parts = [dict(last=torch.eye(4), labels=torch.arange(4)) for _ in range(2)]
    parts[part == 'queries']['last'][1:3, 0] = value
    with pytest.raises(ValueError, match=f'2 of 4 images of the {part} are NaN'):
        knn_metrics(*parts, k=1)


@pytest.fixture
def config(loader_config, preprocessor):
    arch = dict(embed_dims=32, num_layers=5, num_heads=2, feedforward_channels=64)
    backbone = dict(type='VisionTransformer', arch=arch, img_size=16, patch_size=4)
    hook = dict(
        type='KNNHook', bank=loader_config(size=30), query=loader_config(seed=1), k=5
    )
    return Config(
        dict(
            model=dict(type='MAE', backbone=backbone),
            data_preprocessor=preprocessor,
            custom_hooks=[dict(type='EMAHook'), hook],
        )
    )


def test_config_with_checkpoint(config, build_vit, tmp_path):
    target, context = build_vit(), build_vit()
    for block in target.layers:  # the target encoder gives the same for all images
        torch.nn.init.zeros_(block.ffn.layers[1].weight)
        torch.nn.init.zeros_(block.attn.proj.weight)
    torch.nn.init.zeros_(target.patch_embed.projection.weight)
    state = {f'target_encoder.module.{k}': v for k, v in target.state_dict().items()}
    state.update({f'backbone.{k}': v for k, v in context.state_dict().items()})
    path = tmp_path / 'a.pth'
    torch.save(dict(state_dict=state), path)
    encoders = ('target', 'context')
    metrics = {name: evaluate_config(config, path, name) for name in encoders}
    assert evaluate_config(config, path) == metrics['target']
    assert set(metrics['target']) == {'knn_last', 'knn_last4', 'rank_me', 'feature_std'}
    assert metrics['target']['rank_me'] < 1.5 < metrics['context']['rank_me']
    assert metrics['target']['feature_std'] < 1e-3 < metrics['context']['feature_std']


def test_config_without_checkpoint(config):
    first, again = (evaluate_config(config, None, seed=1) for _ in range(2))
    assert first == again != evaluate_config(config, None, seed=2)
    pixels = evaluate_config(config, None, pixels=True)
    assert pixels['knn_last'] > 90 and 'knn_last4' not in pixels
    config.custom_hooks.pop()
    with pytest.raises(ValueError, match='no kNN evaluation'):
        hook_settings(config)


def test_classes_are_compared_by_name(config, monkeypatch):
    notes = []
    monkeypatch.setattr(knn, 'print_log', lambda text: notes.append(text))
    bank, query = (config.custom_hooks[1][name].dataset for name in ('bank', 'query'))
    bank.metainfo = dict(classes=('a', 'b', 'c'))
    query.metainfo = dict(classes=('c', 'a', 'b'))
    _, queries = extract_config(config, None, pixels=True)
    assert queries['labels'].tolist() == [(index % 3 + 2) % 3 for index in range(11)]
    assert len(notes) == 1 and 'mapped by name' in notes[0]
    assert evaluate_config(config, None, pixels=True)['knn_last'] < 10
    query.metainfo = dict(classes=('a', 'b', 'd'))
    with pytest.raises(ValueError, match="unknown: 'd'"):
        evaluate_config(config, None, pixels=True)
    config.custom_hooks[1].query = None
    assert evaluate_config(config, None).keys() == {'rank_me', 'feature_std'}


@pytest.mark.parametrize('lazy', [False, True])
@pytest.mark.parametrize('fraction', [0.5, 1.0])
def test_a_share_of_a_keyed_bank_is_that_of_the_bank(config, fraction, lazy):
    hook, found = config.custom_hooks[1], []
    hook.bank_fraction = fraction
    hook.bank.dataset.metainfo = dict(classes=('a', 'b', 'c'))
    hook.query.dataset.metainfo = dict(classes=('b', 'c', 'a'))
    for wrapped in (False, True):
        for loader in (hook.bank, hook.query) if wrapped else ():
            loader.dataset = dict(
                type='KeyedDataset', dataset=loader.dataset, lazy_init=lazy
            )
        bank, queries = extract_config(config, None, pixels=True)
        assert len(bank['labels']) == 30 * fraction
        found.append((bank, queries, evaluate_config(config, None, pixels=True)))
    for plain, keyed in zip(found[0][:2], found[1][:2], strict=True):
        assert plain.keys() == keyed.keys() == {'last', 'labels'}
        assert all(torch.equal(plain[name], keyed[name]) for name in plain)
    assert found[0][2] == found[1][2]


def test_tool(config, tmp_path, capsys):
    main = runpy.run_path(TOOL)['main']
    path, out = tmp_path / 'config.py', tmp_path / 'numbers.json'
    config.dump(path)
    main([str(path), '--raw-pixels', '--linear', '--out', str(out)])
    numbers = json.loads(out.read_text())
    assert numbers['linear_last'] > 90 and numbers['knn_last'] > 90
    assert f'{numbers["knn_last"]:.2f}' in capsys.readouterr().out
    config.custom_hooks[1].bank.dataset.labeled = False
    config.dump(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(knn, 'extract_shard', pytest.fail)  # refused before that
        with pytest.raises(ValueError, match='--linear needs labels'):
            main([str(path), '--raw-pixels', '--linear'])
    with pytest.raises(ValueError, match='no checkpoint'):
        main([str(path), str(tmp_path / 'none.pth')])
    with pytest.raises(SystemExit):
        main([str(path), '--init', '--raw-pixels'])


def test_tool_writes_what_it_measured(config, tmp_path, monkeypatch):
    """Into a folder that has to be made, and as JSON, which has no NaN."""
    main = runpy.run_path(TOOL)['main']
    path, out = tmp_path / 'config.py', tmp_path / 'missing' / 'x.json'
    config.dump(path)
    command = [str(path), '--raw-pixels', '--out']
    measured = dict(knn_last=50.0, rank_me=float('nan'), feature_std=float('inf'))
    monkeypatch.setitem(main.__globals__, 'knn_metrics', lambda *a, **k: measured)
    main([*command, str(out)])
    numbers = json.loads(out.read_text(), parse_constant=pytest.fail)
    assert numbers == dict(knn_last=50.0, rank_me=None, feature_std=None)
    assert [file.name for file in out.parent.iterdir()] == ['x.json']


@pytest.mark.parametrize('wrong', ['folder', 'file', 'query', 'sklearn'])
def test_tool_finds_mistakes_before_it_measures(config, tmp_path, monkeypatch, wrong):
    main = runpy.run_path(TOOL)['main']
    monkeypatch.setitem(main.__globals__, 'extract_config', pytest.fail)
    path, out = tmp_path / 'config.py', tmp_path / 'x.json'
    if wrong == 'query':
        config.custom_hooks[1].query = None
    if wrong == 'sklearn':
        monkeypatch.setitem(main.__globals__, 'find_spec', lambda name: None)
    config.dump(path)
    out = dict(folder=tmp_path, file=path / 'x.json').get(wrong, out)
    messages = dict(
        folder='is a folder: name a file',
        file='config.py is no folder',
        query='--linear needs labels',
        sklearn='pip install scikit-learn',
    )
    with pytest.raises(ValueError, match=messages[wrong]):
        main([str(path), '--raw-pixels', '--linear', '--out', str(out)])
