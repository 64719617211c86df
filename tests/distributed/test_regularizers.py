"""Statistics over the batch: two gloo processes equal one process of all images.

The processes are started once for all cases.
"""

import pytest
import torch
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel

from dseq_mm.cli.processes import leave_group
from tests.distributed.test_two_processes import one_step, run_two
from tests.models.builders import build_jepa
from tests.models.test_jepa import regularized

CASES = {
    'cjepa-target': regularized('CJEPA'),
    'cjepa-blocks': regularized('CJEPA', pairs='blocks'),
    'dseqc-target': regularized('DSeqCJEPA'),
    'dseqc-blocks': regularized('DSeqCJEPA', pairs='blocks'),
    'dseqc-unrolled': dict(regularized('DSeqCJEPA'), unrolled=True),
    'dseq-sigreg-context': regularized('DSeqJEPA', type='SIGRegHead', slices=16),
    'dseq-sigreg-prediction': regularized(
        'DSeqJEPA', type='SIGRegHead', slices=16, on='prediction', quadrature='paper'
    ),
}
CLOSE = dict(rtol=1e-6, atol=1e-9)


def take_step(model, wrapped, rows):
    """What :func:`one_step` returns, and all that the regularizer has."""
    result = one_step(model, wrapped, rows, progress=0.5)
    (head,) = model.regularizers
    names = [name for name in result['log'] if name.startswith(('vicreg', 'sigreg'))]
    stats = {name: result['log'][name] for name in names}
    assert stats
    return dict(result, head=head.state_dict(), stats=stats)


def heavy(kwargs):
    """The regularizer weighs as much as the latent loss, so that its errors show."""
    model = build_jepa(**kwargs).double()
    model.regularizers[0].weight = 1.0
    return model


def worker(rank, file, out):
    dist.init_process_group(
        'gloo', init_method=f'file://{file}', rank=rank, world_size=2
    )
    torch.set_num_threads(1)
    results = {}
    for name, kwargs in CASES.items():
        model = heavy(kwargs)
        wrapped = MMDistributedDataParallel(model, broadcast_buffers=False)
        results[name] = take_step(model, wrapped, list(range(4))[rank::2])
    torch.save(results, f'{out}.{rank}')
    leave_group()


@pytest.fixture(scope='module')
def two_processes(tmp_path_factory):
    return run_two(worker, tmp_path_factory.mktemp('two'))


@pytest.mark.parametrize('name', CASES)
def test_two_processes_equal_one(two_processes, name):
    single = heavy(CASES[name])
    expected = take_step(single, single, list(range(4)))
    first, second = (results[name] for results in two_processes)
    loss = (first['loss'] + second['loss']) / 2
    torch.testing.assert_close(loss, expected['loss'], **CLOSE)
    trained = {name for name, p in single.named_parameters() if p.requires_grad}
    assert set(expected['gradients']) == trained
    assert any(name.startswith('regularizers.0.projector') for name in trained)
    for part in ('gradients', 'head', 'stats', 'target'):
        assert first[part].keys() == second[part].keys() == expected[part].keys()
        for key, value in expected[part].items():
            torch.testing.assert_close(first[part][key], value, **CLOSE, msg=key)
            assert torch.equal(first[part][key], second[part][key]), key
    assert any('running_var' in key for key in expected['head'])
