"""Features that stay where they were extracted give what the whole gives."""

import multiprocessing

import pytest
import torch
from mmengine.dist import get_rank, get_world_size

from dseq_mm.cli.processes import leave_group
from dseq_mm.evaluation import knn
from dseq_mm.evaluation.knn import knn_accuracy, knn_metrics
from dseq_mm.evaluation.rank import feature_std, rank_me
from dseq_mm.evaluation.shards import gather_shards, own_rows

# images of bank and queries: shards of unequal length, of fewer than k rows, of none
SIZES = [(40, 31), (7, 3), (5, 1), (9, 12)]
K = 4


def dealt(value):
    """What the sampler gives this process: its rows, padded with the first ones."""
    world = get_world_size()
    padded = torch.cat([value] * (world + 1))[: -(-len(value) // world) * world]
    return padded[get_rank() :: world]


def features(size, seed):
    generator = torch.Generator().manual_seed(seed)
    return dict(
        last=torch.randn(size, 6, generator=generator),
        last4=torch.randn(size, 3, generator=generator),
        labels=torch.randint(7, (size,), generator=generator),
    )


def measure():
    found = []
    for bank_size, query_size in SIZES:
        shards = []
        for size, seed in ((bank_size, 0), (query_size, 1)):
            whole = features(size, seed)
            padded = {name: dealt(value) for name, value in whole.items()}
            joined = gather_shards(padded, size)
            assert all(torch.equal(joined[name], whole[name]) for name in whole)
            rows = own_rows(padded, size)
            for name, value in whole.items():
                assert torch.equal(
                    rows[name], value[get_rank() :: get_world_size()]
                )  # and nothing more
            shards.append(rows)
        metrics = knn_metrics(*shards, k=K)
        metrics['rank_me_of_a_part'] = rank_me(shards[0]['last'], max_samples=5)
        found.append(metrics)
    broken = {name: value.clone() for name, value in shards[0].items()}
    if get_rank() == get_world_size() - 1:
        broken['last'][0] = (
            torch.nan
        )  # all processes must refuse it, or some would wait
    with pytest.raises(ValueError, match='of 1 of 9 images of the bank are NaN'):
        knn_metrics(broken, shards[1], k=K)
    with pytest.raises(ValueError, match='k=10 neighbors from a bank of 9 images'):
        knn_metrics(*shards, k=10)
    return found


def one_of(world, rank, store, queue):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{store}', rank=rank, world_size=world
    )
    queue.put(measure())
    leave_group()


@pytest.mark.parametrize('world', [2, 3])
def test_several_processes_measure_what_one_measures(tmp_path, monkeypatch, world):
    monkeypatch.setattr(knn, 'CHUNK', 8)  # several rounds
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    processes = [
        context.Process(
            target=one_of, args=(world, rank, tmp_path / 's', queue), daemon=True
        )
        for rank in range(world)
    ]
    for process in processes:
        process.start()
    results = [queue.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(timeout=60)
        assert process.exitcode == 0
    alone = measure()
    assert {'knn_last_top5', 'knn_last4', 'rank_me', 'feature_std'} <= alone[0].keys()
    assert len({m['knn_last'] for m in alone}) > 1
    for metrics in results:
        assert metrics == results[0]  # to the bit
        for got, expected in zip(metrics, alone, strict=True):
            assert got == pytest.approx(expected, rel=1e-5)


def test_the_sum_over_rows_is_torchs_deviation():
    value = features(40, 2)['last']
    normal = torch.nn.functional.normalize(value, dim=1)
    expected = normal.std(0, correction=0).mean().item()
    assert feature_std(value) == pytest.approx(expected, rel=1e-6)


def test_no_more_than_a_chunk_is_compared_at_once(monkeypatch):
    seen = []
    product = torch.Tensor.__matmul__

    def watched(left, right):
        seen.append(len(left))
        return product(left, right)

    monkeypatch.setattr(torch.Tensor, '__matmul__', watched)
    monkeypatch.setattr(knn, 'CHUNK', 8)
    whole = features(40, 0)
    knn_accuracy(whole['last'], whole['labels'], whole['last'], whole['labels'], k=1)
    assert seen == [8] * 5
