"""Every ablation, on every budget; every small config, in both branches."""

from functools import cache
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS

from dseq_mm.models import TrainingClock
from dseq_mm.plan import PredictionPlan
from dseq_mm.tables import BUDGETS, TABLES
from dseq_mm.utils.configs import BUDGET_VARIABLE as VARIABLE
from tests.models.builders import samples

FOLDER = Path(__file__).parents[1] / 'configs'
ABLATIONS = sorted((FOLDER / 'ablations').glob('*.py'))
SMALL = sorted(FOLDER.glob('*_digitscenes_20e.py')) + ABLATIONS


@pytest.fixture
def budget(monkeypatch):
    def use(name):
        monkeypatch.setenv(VARIABLE, name)

    return use


def differences(ours, base, path=''):
    """Settings that differ, as dotted names."""
    if isinstance(ours, dict) and isinstance(base, dict):
        found = []
        for key in ours.keys() | base.keys():
            found += differences(ours.get(key), base.get(key), f'{path}.{key}')
        return found
    return [] if ours == base else [path[1:]]


@pytest.mark.parametrize('path', ABLATIONS, ids=lambda path: path.stem)
def test_an_ablation_changes_the_model_alone(path, budget):
    budget('digitscenes_20e')
    method = path.read_text().split("_base_ = '../")[1].split('_{{')[0]
    ours = Config.fromfile(path).to_dict()
    base = Config.fromfile(FOLDER / f'{method}_digitscenes_20e.py').to_dict()
    changed = differences(ours, base)
    assert changed and all(name.startswith('model.') for name in changed), changed


def test_every_ablation_is_a_row_of_a_table():
    rows = {row.config for table in TABLES.values() for row in table.rows}
    named = {name.partition('/')[2] for name in rows if name.startswith('ablations/')}
    assert named == {path.stem for path in ABLATIONS}


@pytest.mark.parametrize('name', BUDGETS)
@pytest.mark.parametrize('path', ABLATIONS, ids=lambda path: path.stem)
def test_an_ablation_builds_on_every_budget(path, name, budget):
    budget(name)
    cfg = Config.fromfile(path)
    assert cfg.env_variables == {VARIABLE: name}
    with torch.device('meta'):
        MODELS.build(cfg.model)


@cache
def images(side):
    generator = torch.Generator().manual_seed(0)
    size = (4, 3, side, side)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize('progress', [0.0, 1.0])
@pytest.mark.parametrize('path', SMALL, ids=lambda path: path.stem)
def test_gradient_reaches_every_parameter_and_no_target_parameter(
    path, progress, budget
):
    budget('digitscenes_20e')
    cfg = Config.fromfile(path)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.clock = TrainingClock(0, 3, progress)
    plans = []
    model.mask_generator.register_forward_hook(lambda m, a, plan: plans.append(plan))
    batch = dict(
        inputs=images(cfg.model.backbone.img_size), data_samples=samples(range(4))
    )
    losses = model.loss(**model.data_preprocessor(batch, training=True))
    losses['loss'].backward()
    plans[0].validate()
    assert isinstance(plans[0], PredictionPlan) and losses['loss'].isfinite()
    for name, parameter in model.named_parameters():
        if name.startswith('target_encoder') or 'pos_embed' in name:
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None and parameter.grad.any(), name
