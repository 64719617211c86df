"""A model cut up over two processes takes the steps of one that is whole in each."""

import pytest
import torch
import torch.distributed as dist
from mmengine.hooks import CheckpointHook
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dseq_mm.cli.processes import leave_group
from dseq_mm.engine import DurableCheckpointHook
from dseq_mm.engine.sharding import FullySharded, check_saving, gathered, is_sharded
from dseq_mm.utils.host import local, whole
from tests.distributed.test_two_processes import CASES, one_step, run_two
from tests.models.builders import build_jepa


def worker(rank, file, out):
    dist.init_process_group(
        'gloo', init_method=f'file://{file}', rank=rank, world_size=2
    )
    torch.set_num_threads(1)
    results = {}
    for name, (kwargs, progress) in CASES.items():
        steps = []
        for wrap in (DistributedDataParallel, FullySharded):
            model = build_jepa(**kwargs).double()
            wrapped = wrap(model)
            step = one_step(model, wrapped, list(range(4))[rank::2], progress)
            for part in ('gradients', 'target'):
                step[part] = {n: whole(x).clone() for n, x in step[part].items()}
            steps.append(step)
        results[name] = steps
    assert wrapped is model and is_sharded(model.parameters())
    check_saving(model, [DurableCheckpointHook()])
    with pytest.raises(ValueError, match='CheckpointHook cannot save a sharded model'):
        check_saving(model, [CheckpointHook()])
    weights = list(model.parameters())
    results['kept'] = sum(local(weight).numel() for weight in weights)
    results['all'] = sum(weight.numel() for weight in weights)
    expected = {name: whole(value) for name, value in model.named_parameters()}
    with gathered(model):
        if rank == 0:  # alone
            state = model.state_dict()
            assert all(torch.equal(state[name], expected[name]) for name in expected)
    state = model.state_dict()
    model.load_state_dict({name: value + 1 for name, value in state.items()})
    for name, value in model.named_parameters():
        assert torch.equal(whole(value), expected[name] + 1)
    with pytest.raises(RuntimeError, match='size mismatch'):
        model.load_state_dict({**state, 'neck.norm.bias': torch.zeros(3)})
    torch.save(results, f'{out}.{rank}')
    leave_group()


@pytest.fixture(scope='module')
def two_processes(tmp_path_factory):
    return run_two(worker, tmp_path_factory.mktemp('two'))


def close(found, expected, name):
    """Equal to rounding of float64."""
    torch.testing.assert_close(
        found, expected, rtol=1e-12, atol=1e-15, msg=lambda text: f'{name}: {text}'
    )


@pytest.mark.parametrize('name', CASES)
def test_a_step_of_a_sharded_model_is_that_of_a_whole_one(two_processes, name):
    for results in two_processes:
        expected, found = results[name]
        for part in ('gradients', 'target', 'log'):
            assert found[part].keys() == expected[part].keys()
            assert part == 'log' or len(found[part]) > 20
            for key, value in expected[part].items():
                close(found[part][key], value, key)
        close(found['loss'], expected['loss'], 'loss')


def test_a_process_keeps_half_of_the_weights(two_processes):
    kept = [results['kept'] for results in two_processes]
    assert sum(kept) == two_processes[0]['all']
    assert max(kept) < 0.55 * sum(kept)


def test_parameters_of_no_part_are_refused():
    model = nn.Module()
    model.scale = nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match='scale is in none'):
        FullySharded(model)
