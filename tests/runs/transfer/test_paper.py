"""The paper's figures against what its tables say of them, and against their sums."""

import pytest

from dseq_mm.tables import TASKS, paper

# The printed means of linear, fine-tuning, iNaturalist, CUB and Cars.
MEANS = {
    ('MAE', 'vitb16'): 61.0,
    ('IJEPA', 'vitb16'): 64.6,
    ('DSeqJEPA', 'vitb16'): 65.5,
    ('CJEPA', 'vitb16'): 65.0,
    ('DSeqCJEPA', 'vitb16'): 65.7,
    ('DINO', 'vitb16'): 50.4,
    ('iBOT', 'vitb16'): 67.6,
    ('IJEPA', 'vitl16'): 67.5,
    ('DSeqJEPA', 'vitl16'): 68.2,
    ('CJEPA', 'vitl16'): 67.5,
    ('DSeqCJEPA', 'vitl16'): 68.5,
    ('DSeqJEPA', 'vith16-448'): 69.7,
}
# The printed gains of DSeq-JEPA over I-JEPA.
GAINS = {
    'vitb16': dict(linear=1.1, finetune=0.5, inat21=0.5, cub=0.9, cars=1.4)
    | dict(box=0.6, mask=0.5, miou=0.5),
    'vitl16': dict(linear=0.8, finetune=0.2, inat21=0.7, cub=1.2, cars=0.8)
    | {'clevr-count': 0.8, 'clevr-dist': 0.3},
    'vith16-448': dict(linear=1.3, finetune=0.7),
}
# Ours, added up from the printed tables: they catch any one figure that changes.
SUMS = dict(epochs=15900, linear=1226.0, finetune=1363.8, inat21=481.1, cub=825.4)
SUMS |= dict(cars=827.5, box=353.6, mask=313.0, miou=386.5)
SUMS |= {'clevr-count': 345.9, 'clevr-dist': 286.2}


def test_columns_have_the_sums_of_the_printed_tables():
    for column, total in SUMS.items():
        values = [row[column] for row in paper.FIGURES.values() if column in row]
        assert sum(values) == pytest.approx(total), column
    assert sum(paper.ABLATIONS.values()) == pytest.approx(725.1)


def test_means_and_gains_as_printed():
    for key, mean in MEANS.items():
        row = paper.FIGURES[key]
        columns = ('linear', 'finetune', 'inat21', 'cub', 'cars')
        five = [row[column] for column in columns]
        assert sum(five) / 5 == pytest.approx(mean, abs=0.0501)
    for arch, gains in GAINS.items():
        for column, gain in gains.items():
            ours, base = (
                paper.FIGURES[method, arch][column] for method in ('DSeqJEPA', 'IJEPA')
            )
            assert ours - base == pytest.approx(gain)


def test_every_column_belongs_to_a_metric():
    columns = {name for row in paper.FIGURES.values() for name in row} - {'epochs'}
    assert columns == SUMS.keys() - {'epochs'}
    of_metrics = [m.paper for task in TASKS.values() for m in task.metrics if m.paper]
    assert sorted(of_metrics) == sorted(columns)


def test_names_are_those_of_the_paper_or_of_the_class():
    methods = {method for method, _ in paper.FIGURES}
    assert {paper.name_of(method).replace('-', '') for method in methods} == methods
    assert paper.name_of('MoCoV3') == 'MoCo v3' and paper.name_of('Own') == 'Own'
