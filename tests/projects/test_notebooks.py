"""The notebooks run from their first to their last cell, on little data."""

from pathlib import Path

import pytest

from tests.end_to_end.runs import write_images

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / 'projects/notebooks'


def execute(name, folder, monkeypatch, **variables):
    """Run a notebook in a folder; its outputs as text, and how many pictures."""
    nbformat = pytest.importorskip('nbformat')
    nbclient = pytest.importorskip('nbclient')
    pytest.importorskip('ipykernel')
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    notebook = nbformat.read(FOLDER / f'{name}.ipynb', 4)
    assert not any(cell.get('outputs') for cell in notebook.cells), 'clear the outputs'
    client = nbclient.NotebookClient(
        notebook,
        timeout=600,
        kernel_name='python3',
        resources=dict(metadata=dict(path=str(folder))),
    )
    client.execute()
    outputs = [out for cell in notebook.cells for out in cell.get('outputs', ())]
    text = ''.join(out.get('text', '') for out in outputs)
    return text, sum('image/png' in out.get('data', {}) for out in outputs)


def test_regions_of_your_images(tmp_path, monkeypatch):
    write_images(tmp_path / 'photos', count=8, size=60)
    text, pictures = execute(
        'regions_of_your_images', tmp_path, monkeypatch, EPOCHS='2'
    )
    assert pictures == 4
    assert 'patches of each region: [' in text


def test_from_a_folder_to_a_detector(tmp_path, monkeypatch):
    pytest.importorskip('mmdet')
    pytest.importorskip('mmcv.ops')
    text, pictures = execute(
        'from_a_folder_to_a_detector',
        tmp_path,
        monkeypatch,
        PRE_TRAIN_EPOCHS='1',
        DETECT_EPOCHS='1',
        SIZES='--train 64 --val 16 --scenes-train 8 --scenes-val 3',
    )
    assert pictures == 2
    assert 'coco/bbox_mAP' in text
