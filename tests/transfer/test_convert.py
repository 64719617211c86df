"""Whole checkpoints from one layout into the other, and back."""

import runpy
from pathlib import Path

import pytest
import torch

from dseq_mm.transfer.checkpoint import load_checkpoint
from dseq_mm.transfer.contents import state_dict_of
from dseq_mm.transfer.convert import convert_whole
from dseq_mm.utils import command
from tests.transfer.test_warm_start import saved, trained

TOOL = str(Path(__file__).parents[2] / 'tools' / 'convert_checkpoint.py')


def same(path, wanted):
    found = state_dict_of(load_checkpoint(path))
    wanted = {k: v for k, v in wanted.items() if not k.endswith('.steps')}
    found = {k: v for k, v in found.items() if not k.endswith('.steps')}
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], value) for name, value in wanted.items())


@pytest.mark.parametrize('method', ['DSeqJEPA', 'IJEPA'])
def test_there_and_back(tmp_path, method):
    source = trained(method)
    own = saved(source, tmp_path / 'epoch_2.pth')
    lines = convert_whole(own, tmp_path / 'jepa.pth.tar', 'ijepa')
    assert [line.split(':')[0] for line in lines] == [
        'encoder',
        'target_encoder',
        'predictor',
    ]
    official = torch.load(tmp_path / 'jepa.pth.tar', weights_only=True)
    assert 'module.predictor_pos_embed' in official['predictor']
    same(tmp_path / 'jepa.pth.tar', source.state_dict())
    convert_whole(tmp_path / 'jepa.pth.tar', tmp_path / 'again.pth', 'jepa')
    same(tmp_path / 'again.pth', source.state_dict())
    meta = load_checkpoint(tmp_path / 'again.pth')['meta']
    assert meta['found'] == 'a file of I-JEPA or DSeq-JEPA'
    assert not [path for path in tmp_path.iterdir() if path.name.startswith('.')]


def test_refusals(tmp_path, pretraining, build_vit):
    path, *_ = pretraining()
    plain = tmp_path / 'plain.pth'
    torch.save(build_vit().state_dict(), plain)
    for source, out, layout, message in (
        (plain, 'a.pth', 'ijepa', 'no pre-training checkpoint'),
        (path, 'plain.pth', 'ijepa', 'is not overwritten'),
        (path, 'a.txt', 'ijepa', 'has to end in'),
        (path, 'a.pth', 'other', 'layout is one of'),
    ):
        with pytest.raises(ValueError, match=message):
            convert_whole(source, tmp_path / out, layout)
    with pytest.raises(FileNotFoundError, match='make the folder'):
        convert_whole(path, tmp_path / 'no' / 'a.pth', 'ijepa')


def test_tool(tmp_path, pretraining, capsys):
    path, *_ = pretraining()
    main = runpy.run_path(TOOL)['main']
    main([str(path), str(tmp_path / 'model'), '--layout', 'hf'])
    assert 'AutoModel.from_pretrained' in capsys.readouterr().out
    main([str(tmp_path / 'model'), str(tmp_path / 'a.pth'), '--layout', 'timm'])
    assert 'names of timm' in capsys.readouterr().out
    status = command.run(main, [str(path), str(tmp_path / 'b'), '--layout', 'timm'])
    assert status == command.USER_ERROR
    assert 'has to end in' in capsys.readouterr().err
