"""Graphs of an encoder give its features, at any batch and size."""

import runpy
from pathlib import Path

import pytest
import torch

from dseq_mm.evaluation import graphs
from dseq_mm.evaluation.encoder_file import load_encoder
from dseq_mm.evaluation.graphs import EncoderGraph, write_graph
from dseq_mm.utils import command
from tests.transfer.conftest import build_vit

TOOL = str(Path(__file__).parents[2] / 'tools' / 'convert_checkpoint.py')


@pytest.fixture(params=[True, False])
def encoder(tmp_path, request):
    token = request.param
    settings = dict(layer_scale_init_value=1e-5) if token else {}
    vit = build_vit(seed=4, with_cls_token=token, img_size=(32, 48), **settings)
    torch.save(vit.state_dict(), tmp_path / 'plain.pth')
    facts = dict(architecture=dict(grid=[4, 6], num_heads=2))
    whole = dict(state_dict=vit.state_dict(), meta=facts)
    torch.save(whole, tmp_path / 'whole.pth')
    return load_encoder(tmp_path / 'whole.pth')


def test_the_graph_is_the_network(encoder):
    for size in ((32, 48), (40, 24), (64, 64)):
        images = torch.rand(3, 3, *size)
        with torch.no_grad():
            tokens, pooled = EncoderGraph(encoder)(images)
        expected = encoder(images)
        extra = int(expected.class_token is not None)
        torch.testing.assert_close(tokens[:, extra:], expected.patches)
        torch.testing.assert_close(pooled, expected.pooled)
        if extra:
            torch.testing.assert_close(tokens[:, 0], expected.class_token)


@pytest.mark.parametrize('kind', ['onnx', 'torch'])
def test_files_agree_at_two_sizes(encoder, tmp_path, kind):
    out = tmp_path / f'x{graphs.GRAPHS[kind]}'
    if kind == 'onnx':
        pytest.importorskip('onnxscript')
        onnxruntime = pytest.importorskip('onnxruntime')
    assert write_graph(encoder, out, kind) < 1e-5
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith('.')] == []
    if kind == 'onnx':
        session = onnxruntime.InferenceSession(str(out))

        def run(images):
            return [torch.from_numpy(x) for x in session.run(None, dict(images=images))]
    else:
        module = torch.export.load(str(out)).module()

        def run(images):
            return module(torch.from_numpy(images))

    for batch, height, width in ((1, 32, 48), (5, 56, 16)):
        images = torch.rand(batch, 3, height, width)
        tokens, pooled = run(images.numpy())
        expected = encoder(images)
        torch.testing.assert_close(pooled, expected.pooled, rtol=0, atol=1e-5)
        patches = tokens[:, -expected.patches.shape[1] :]
        torch.testing.assert_close(patches, expected.patches, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match='is not overwritten'):
        write_graph(encoder, out, kind)
    with pytest.raises(ValueError, match='has to end in'):
        write_graph(encoder, tmp_path / 'x.bin', kind)


def test_a_graph_that_differs_is_not_written(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(graphs, '_TOLERANCE', 0.0)
    with pytest.raises(ValueError, match='differs from the network'):
        write_graph(encoder, tmp_path / 'x.pt2', 'torch')
    assert not list(tmp_path.glob('*.pt2'))


def test_a_missing_package_is_named(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(graphs.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ValueError, match='pip install onnx onnxscript onnxruntime'):
        write_graph(encoder, tmp_path / 'x.onnx', 'onnx')


def test_tool(encoder, tmp_path, capsys):
    main = runpy.run_path(TOOL)['main']
    main([str(tmp_path / 'whole.pth'), str(tmp_path / 'y.pt2'), '--layout', 'torch'])
    assert 'at two sizes within' in capsys.readouterr().out
    wrong = [str(tmp_path / 'whole.pth'), str(tmp_path / 'y.pth'), '--layout', 'onnx']
    assert command.run(main, wrong) == command.USER_ERROR
    assert 'has to end in .onnx' in capsys.readouterr().err
