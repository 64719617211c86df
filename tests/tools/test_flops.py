"""The promised costs, as counts."""

import importlib.util
from pathlib import Path

import pytest

from dseq_mm.tables.paper import STEP_GFLOP

PATH = Path(__file__).parents[2] / 'tools' / 'benchmarks' / 'flops.py'


@pytest.fixture(scope='module')
def flops():
    spec = importlib.util.spec_from_file_location('flops', PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ('config', 'options', 'most', 'padding'),
    [
        ('dseq_vitb16_600e', {}, 150, 0.02),
        ('ijepa_vitb16_600e', {}, 130, 0.03),
        ('ijepa_vitb16_600e', dict(released=True), STEP_GFLOP['IJEPA'], 0.01),
    ],
)
def test_step_costs_at_most(flops, config, options, most, padding):
    config = flops.load(config, **options)
    plan = flops.sample_plan(config, 64, 0)
    counted = flops.count_step(config, plan)
    real = flops.real_tokens(config, plan)
    assert counted <= most
    assert real <= counted * (1 + 1e-6) <= real * (1 + padding)
