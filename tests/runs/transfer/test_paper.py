"""The paper's figures against its printed tables, and against their own sums."""

import pytest

from dseq_mm.tables import TASKS, paper

# as printed: method, architecture, epochs, linear, fine-tuning, iNat21, CUB, Cars, mean
CLASSIFICATION = """
MAE ViT-B/16 1600 68.0 83.6 33.5 59.8 60.2 61.0
I-JEPA ViT-B/16 600 72.4 83.5 35.9 65.3 65.9 64.6
DSeq-JEPA ViT-B/16 600 73.5 84.0 36.4 66.2 67.3 65.5
C-JEPA ViT-B/16 600 73.5 84.2 36.2 64.9 66.1 65.0
DSeq-C-JEPA ViT-B/16 600 73.8 84.3 36.6 66.5 67.4 65.7
NEPA ViT-B/14 1600 - 83.8 - - - -
MAE ViT-L/16 1600 76.0 85.9 37.1 63.4 61.9 -
I-JEPA ViT-L/16 600 77.1 86.6 38.8 66.9 68.1 67.5
DSeq-JEPA ViT-L/16 600 77.9 86.8 39.5 68.1 68.9 68.2
C-JEPA ViT-L/16 600 78.0 86.9 39.0 65.8 67.7 67.5
DSeq-C-JEPA ViT-L/16 600 78.4 87.2 39.7 68.3 68.8 68.5
NEPA ViT-L/14 800 - 85.3 - - - -
MAE ViT-H/14 1600 77.2 - - - - -
LeJEPA ViT-H/14 100 79.0 - - - - -
I-JEPA ViT-H/16-448 300 81.1 87.1 - - - -
DSeq-JEPA ViT-H/16-448 300 82.4 87.8 39.3 68.9 70.1 69.7
DINO ViT-B/16 1600 78.2 82.8 30.2 33.6 27.0 50.4
iBOT ViT-B/16 1600 79.5 84.0 38.9 67.7 68.1 67.6
"""
# box AP, mask AP, mIoU
DENSE = """
MAE ViT-B/16 50.3 44.9 48.1
I-JEPA ViT-B/16 49.9 44.5 47.6
DSeq-JEPA ViT-B/16 50.5 45.0 48.1
C-JEPA ViT-B/16 50.7 45.3 48.7
DSeq-C-JEPA ViT-B/16 50.9 45.7 48.9
NEPA ViT-B/14 - - 48.3
DINO ViT-B/16 50.1 43.4 46.8
iBOT ViT-B/16 51.2 44.2 50.0
"""
# printed gains: DSeq-JEPA over I-JEPA
GAINS = {
    'vitb16': dict(linear=1.1, finetune=0.5, inat21=0.5, cub=0.9, cars=1.4)
    | dict(box=0.6, mask=0.5, miou=0.5),
    'vitl16': dict(linear=0.8, finetune=0.2, inat21=0.7, cub=1.2, cars=0.8)
    | {'clevr-count': 0.8, 'clevr-dist': 0.3},
    'vith16-448': dict(linear=1.3, finetune=0.7),
}


def lines(text):
    for line in text.strip().splitlines():
        method, arch, *values = line.split()
        key = method.replace('-', ''), arch.lower().replace('vit-', 'vit')
        yield (
            (key[0], key[1].replace('/', '')),
            [None if value == '-' else float(value) for value in values],
        )


def test_equals_the_printed_tables():
    columns = ['epochs', 'linear', 'finetune', 'inat21', 'cub', 'cars', 'mean']
    printed = {
        key: dict(zip(columns, values, strict=True))
        for key, values in lines(CLASSIFICATION)
    }
    for key, values in lines(DENSE):
        printed[key].update(zip(['box', 'mask', 'miou'], values, strict=True))
    clevr = dict(IJEPA=(85.6, 71.2), DSeqJEPA=(86.4, 71.5))
    clevr |= dict(CJEPA=(86.8, 71.6), DSeqCJEPA=(87.1, 71.9))
    for method, (count, distance) in clevr.items():
        printed[method, 'vitl16'] |= {'clevr-count': count, 'clevr-dist': distance}
    expected = {
        key: {k: v for k, v in row.items() if v is not None and k != 'mean'}
        for key, row in printed.items()
    }
    assert paper.FIGURES == expected


def test_means_and_gains_as_printed():
    names = ('linear', 'finetune', 'inat21', 'cub', 'cars')
    checked = 0
    for key, (*_, mean) in lines(CLASSIFICATION):
        if mean is not None:
            row = [paper.FIGURES[key][name] for name in names]
            assert sum(row) / 5 == pytest.approx(mean, abs=0.0501)
            checked += 1
    assert checked == 12
    for arch, gains in GAINS.items():
        for column, gain in gains.items():
            ours, base = (
                paper.FIGURES[method, arch][column] for method in ('DSeqJEPA', 'IJEPA')
            )
            assert ours - base == pytest.approx(gain)


def test_every_column_belongs_to_a_metric():
    columns = {name for row in paper.FIGURES.values() for name in row} - {'epochs'}
    of_metrics = [m.paper for task in TASKS.values() for m in task.metrics if m.paper]
    assert sorted(of_metrics) == sorted(columns)


def test_names_are_those_of_the_paper_or_of_the_class():
    # what the tables print is what `lines` reads back, but for its hyphens
    for method in {method for method, _ in paper.FIGURES}:
        assert paper.name_of(method).replace('-', '') == method
    assert paper.name_of('MoCoV3') == 'MoCo v3' and paper.name_of('Own') == 'Own'
