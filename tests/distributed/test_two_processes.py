"""Two gloo processes of batch b equal one process of batch 2b.

The processes are started once for all cases.
"""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

import projects.dmt_jepa  # noqa: F401
from dseq_mm.cli.processes import leave_group
from dseq_mm.engine import ClockHook, GuardedOptimWrapper
from dseq_mm.models.jepa import TrainingClock
from tests.engine.test_clock import runner_of
from tests.models.builders import build_jepa, images, samples

INDICES = [7, 3, 11, 0]
CASES = {
    'dseq': (dict(method='DSeqJEPA'), 0.5),
    'ijepa': (dict(method='IJEPA'), 0.5),
    'grad-cam': (
        dict(
            method='DSeqJEPA',
            mask_generator=dict(
                type='DiscriminativeMaskGenerator',
                saliency=dict(type='GradCAM'),
                num_regions=3,
            ),
        ),
        1.0,
    ),
    'curriculum-of-batches': (
        dict(
            method='DSeqJEPA',
            mask_generator=dict(
                type='DiscriminativeMaskGenerator',
                saliency=dict(type='ClassTokenSimilarity', block=1),
                num_regions=3,
                curriculum=dict(unit='batch'),
            ),
        ),
        0.0,
    ),
    'dmt': (dict(method='DMTJEPA'), 0.5),
}
"""Arguments of the model, and progress of training."""


def one_step(model, wrapped, rows, progress):
    """Loss, plan, gradients and EMA copies after one step on some rows."""
    model.clock = TrainingClock(2, 5, progress)
    plans = []
    model.mask_generator.register_forward_hook(lambda m, a, plan: plans.append(plan))
    parameters = [p for p in model.parameters() if p.requires_grad]
    optim = GuardedOptimWrapper(optimizer=torch.optim.SGD(parameters, lr=0.1))
    inputs = images(4, dtype=torch.float64)[rows]
    data_samples = samples([INDICES[row] for row in rows])
    losses = wrapped(inputs, data_samples, mode='loss')
    optim.zero_grad()
    losses['loss'].backward()
    gradients = {
        name: p.grad.clone()
        for name, p in model.named_parameters()
        if p.grad is not None
    }
    optim.zero_grad()
    losses = wrapped(inputs, data_samples, mode='loss')
    optim.update_params(losses['loss'])
    target = {}
    for copy, source in model.averages.items():
        average = getattr(model, copy)
        average.progress = 0.0
        average.update_parameters(getattr(model, source))
        target.update(average.state_dict(prefix=f'{copy}.'))
    plan = plans[0]
    rows = [
        sorted(zip(s, i, strict=False))
        for ids, steps in (
            (plan.context_ids, plan.context_step),
            (plan.target_ids, plan.target_step),
        )
        for i, s in zip(ids.tolist(), steps.tolist(), strict=False)
    ]
    # padding differs with the batch; it is no part of the plan
    rows = [[pair for pair in row if pair[1] >= 0] for row in rows]
    return dict(
        loss=losses.pop('loss').detach(),
        log=losses,
        plan=rows,
        gradients=gradients,
        target=target,
    )


def worker(rank, file, out):
    dist.init_process_group(
        'gloo', init_method=f'file://{file}', rank=rank, world_size=2
    )
    torch.set_num_threads(1)
    results = {}
    for name, (kwargs, progress) in CASES.items():
        model = build_jepa(**kwargs).double()
        wrapped = DistributedDataParallel(model)
        rows = list(range(4))[rank::2]
        results[name] = one_step(model, wrapped, rows, progress)
    runner = runner_of(model=model, seed=7 + rank)  # as diff_rank_seed has it
    hook = ClockHook()
    hook.before_train(runner)
    hook.before_train_iter(runner, 0)
    results['seed'] = model.clock.seed
    torch.save(results, f'{out}.{rank}')
    leave_group()


def run_two(worker, folder):
    """What the two processes of a worker have saved, by rank."""
    arguments = str(folder / 'store'), str(folder / 'result')
    mp.start_processes(worker, arguments, nprocs=2, start_method='fork')
    return [torch.load(folder / f'result.{r}', weights_only=True) for r in range(2)]


@pytest.fixture(scope='module')
def two_processes(tmp_path_factory):
    return run_two(worker, tmp_path_factory.mktemp('two'))


@pytest.mark.parametrize('name', CASES)
def test_two_processes_equal_one(two_processes, name):
    kwargs, progress = CASES[name]
    single = build_jepa(**kwargs).double()
    expected = one_step(single, single, list(range(4)), progress)
    results = [each[name] for each in two_processes]
    loss = (results[0]['loss'] + results[1]['loss']) / 2
    torch.testing.assert_close(loss, expected['loss'], rtol=1e-6, atol=1e-8)
    half = len(expected['plan']) // 2
    for rank, result in enumerate(results):
        context = expected['plan'][:half][rank::2]
        target = expected['plan'][half:][rank::2]
        assert result['plan'] == context + target
        for name, gradient in expected['gradients'].items():
            torch.testing.assert_close(
                result['gradients'][name], gradient, rtol=1e-5, atol=1e-8
            )
        for name, value in expected['target'].items():
            torch.testing.assert_close(
                result['target'][name], value, rtol=1e-6, atol=1e-9
            )


def test_all_processes_key_their_masks_by_one_seed(two_processes):
    assert [each['seed'] for each in two_processes] == [7, 7]
