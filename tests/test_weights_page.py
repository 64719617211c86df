"""Every snippet of the page on weights runs, on small files of those names."""

import re
import runpy
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dseq_mm.transfer.export import export_backbone
from dseq_mm.transfer.layouts import to_ijepa
from tests.models.builders import build_jepa
from tests.transfer.conftest import build_vit

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / 'docs' / 'weights.md').read_text()
SNIPPETS = re.findall(r'```(python|bash)\n(.*?)```', PAGE, re.DOTALL)
#: Trains; what it promises is tested in tests/transfer/test_layouts.py.
ELSEWHERE = 'python tools/train.py'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the page's commands are called: its files, and our tools."""
    monkeypatch.chdir(tmp_path)
    vit = build_vit(out_type='raw')
    state = {f'target_encoder.module.{k}': v for k, v in vit.state_dict().items()}
    state |= {f'backbone.{k}': v for k, v in vit.state_dict().items()}
    neck = build_jepa(method='IJEPA').neck.state_dict()
    state |= {f'neck.{name}': value for name, value in neck.items()}
    arch = dict(grid=[4, 4], num_heads=2)
    meta = dict(architecture=arch)  # 32 channels are no published ViT
    torch.save({**to_ijepa(state), 'meta': meta}, 'ijepa.pth.tar')
    torch.save(dict(state_dict=state, meta=meta), 'epoch.pth')
    export_backbone('epoch.pth', 'backbone.pth')
    Path('photos').mkdir()
    for index in range(4):
        pixels = np.random.RandomState(index).randint(0, 256, (40, 48, 3))
        cv2.imwrite(f'photos/{index}.png', pixels.astype(np.uint8))
    return tmp_path


def test_all_snippets_in_their_order(folder, capsys):
    pytest.importorskip('onnxscript')
    pytest.importorskip('onnxruntime')
    pytest.importorskip('transformers')
    names: dict = {}
    called = []
    for language, text in SNIPPETS:
        if language == 'python':
            exec(compile(text, 'docs/weights.md', 'exec'), names)
            continue
        for line in text.splitlines():
            if line.startswith(ELSEWHERE):
                continue
            python, tool, *arguments = shlex.split(line)
            assert python == 'python'
            runpy.run_path(str(ROOT / tool))['main'](arguments)
            called.append(Path(tool).stem)
    assert called == ['embed'] * 2 + ['convert_checkpoint'] * 7
    assert names['features'].pooled.shape == (2, 32)
    assert names['regions'].rank.shape == (2, 4, 6)
    assert names['embeddings'].values.shape == (4, 32)
    assert names['tokens'].shape == (4, 16, 32) and names['pooled'].shape == (4, 32)
    assert type(names['model']).__name__ == 'ViTModel'
    for name in ('features.npy', 'features.txt', 'features.csv', 'features.png'):
        assert (folder / name).stat().st_size > 0
