"""LeJEPA against loops over views, images, directions and knots."""

import math
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import Runner
from mmpretrain.registry import MODELS

from dseq_mm.cli.processes import leave_group
from dseq_mm.clock import TrainingClock
from dseq_mm.models.heads.sigreg import random_directions
from dseq_mm.randomness import Purpose
from projects.lejepa import LeJEPA
from tests.distributed.test_two_processes import run_two
from tests.end_to_end.runs import write_images
from tests.models.builders import images, samples

FOLDER = Path(__file__).parents[2] / 'projects/lejepa/configs'
CLOCK = TrainingClock(1, 7, 0.5)


def build(**changes):
    """The DigitScenes model, in float64, of few slices."""
    torch.manual_seed(0)
    config = Config.fromfile(FOLDER / 'lejepa_digitscenes_20e.py').model
    config.update(slices=8, projector=(16, 6), num_global=2, weight=0.05)
    config.update(changes)
    model = MODELS.build(config)
    model.init_weights()
    model.clock = CLOCK
    return model.double().train()


def views(count=4):
    """Two global views and three local ones."""
    sizes = [(24, 24)] * 2 + [(16, 16)] * 3
    return [images(count, size, i, torch.float64) for i, size in enumerate(sizes)]


def test_loss_by_loops():
    model, weight = build(weight=0.3), 0.3
    found = model.loss(views(), samples(range(4)))
    with torch.no_grad():
        features = torch.stack([model.backbone(view)[-1] for view in views()], 1)
        z = model.projector(features)  # (V, n, K)
    center = (z[0] + z[1]) / 2
    gaps = [(z[v, n, k] - center[n, k]) ** 2 for v, n, k in places(z)]
    invariance = sum(gaps) / len(gaps)
    key = CLOCK.iteration_key(Purpose.DIRECTIONS, None)
    directions = random_directions(key, z.shape[2], 8, 'cpu')
    step, total = 3 / 16, 0.0
    for view in z:
        for a in directions.T:
            for knot in range(17):  # from 0 on, doubled by symmetry
                t = knot * step
                phi = math.exp(-(t**2) / 2)
                real = sum(math.cos(t * float(a @ row)) for row in view) / len(view)
                sine = sum(math.sin(t * float(a @ row)) for row in view) / len(view)
                end = 0.5 if knot in (0, 16) else 1.0
                term = ((real - phi) ** 2 + sine**2) * phi
                total += len(view) * 2 * end * step * term / (8 * len(z))
    assert found['invariance'].item() == pytest.approx(float(invariance))
    assert found['sigreg'].item() == pytest.approx(total)
    expected = 0.7 * float(invariance) + weight * total
    assert found['loss'].item() == pytest.approx(expected)


def places(z):
    return [(v, n, k) for v in range(len(z)) for n in range(4) for k in range(6)]


def test_the_minimum_is_equal_views_that_are_normal():
    model = build()
    one = views()[0]
    found = model.loss([one, one], samples(range(4)))
    assert found['invariance'].item() == pytest.approx(0, abs=1e-20)
    assert found['loss'].item() == pytest.approx(0.05 * found['sigreg'].item())


def test_gradients_reach_all_parameters_through_all_views():
    model = build()
    inputs = [view.requires_grad_() for view in views()]
    model.loss(inputs, samples(range(4)))['loss'].backward()
    assert all(view.grad.any() for view in inputs)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and 'cls_token' not in name:
            assert parameter.grad is not None and parameter.grad.any(), name


def test_what_is_refused():
    model = build()
    with pytest.raises(ValueError, match='MultiView'):
        model.loss(views()[0], samples(range(4)))
    with pytest.raises(ValueError, match='2 of them global'):
        model.loss(views()[:1], samples(range(4)))
    with pytest.raises(ValueError, match='weight lies from 0 to 1'):
        build(weight=1.5)
    with pytest.raises(ValueError, match='quadrature'):
        build(quadrature='mine')


def step(model, wrapped, rows):
    """Loss and gradients of some images of four."""
    result = wrapped([view[rows] for view in views()], samples(rows), mode='loss')
    result['loss'].backward()
    return dict(
        loss=result['loss'].detach(),
        gradients={
            n: p.grad for n, p in model.named_parameters() if p.grad is not None
        },
    )


def worker(rank, file, out):
    dist.init_process_group(
        'gloo', init_method=f'file://{file}', rank=rank, world_size=2
    )
    torch.set_num_threads(1)
    model = build()
    wrapped = MMDistributedDataParallel(
        model, broadcast_buffers=False, find_unused_parameters=True
    )
    torch.save(step(model, wrapped, [0, 1, 2, 3][rank::2]), f'{out}.{rank}')
    leave_group()


def test_two_processes_equal_one(tmp_path):
    single = build()
    expected = step(single, single, [0, 1, 2, 3])
    for found in run_two(worker, tmp_path):
        torch.testing.assert_close(found['loss'], expected['loss'])
        for name, gradient in expected['gradients'].items():
            torch.testing.assert_close(
                found['gradients'][name], gradient, rtol=1e-6, atol=1e-10, msg=name
            )


def test_it_trains_with_monitors_and_the_alarm(tmp_path):
    data = write_images(tmp_path / 'images', count=8)
    cfg = Config.fromfile(FOLDER / 'lejepa_digitscenes_20e.py')
    cfg.work_dir, cfg.log_level, cfg.custom_hooks = str(tmp_path / 'run'), 'ERROR', []
    cfg.train_cfg.max_epochs = 2
    cfg.train_dataloader.batch_size = 4
    cfg.train_dataloader.dataset.dataset.update(data_root='', data_prefix=str(data))
    cfg.default_hooks.rank.interval = 1
    runner = Runner.from_cfg(cfg)
    runner.train()
    scalars = runner.message_hub.log_scalars
    names = {'train/loss', 'train/invariance', 'train/sigreg', 'train/rank_me'}
    assert names <= scalars.keys() and isinstance(runner.model, LeJEPA)
    assert (tmp_path / 'run/epoch_2.pth').is_file()


@pytest.mark.parametrize(('name', 'local'), [('vitb16', 96), ('vith14', 98)])
def test_recipes(name, local):
    cfg = Config.fromfile(FOLDER / f'lejepa_{name}_100e.py')
    view = cfg.train_dataloader.dataset.dataset.pipeline[1]
    assert view.num_views == [2, 6]
    sizes = [transforms[0].scale for transforms in view.transforms]
    assert sizes == [224, local] and local % cfg.model.backbone.patch_size == 0
    batch = cfg.train_dataloader.batch_size
    batch *= 8 * cfg.optim_wrapper.get('accumulative_counts', 1)
    assert batch == cfg.auto_scale_lr.base_batch_size == 512
    with torch.device('meta'):
        assert MODELS.build(cfg.model).weight == 0.05
