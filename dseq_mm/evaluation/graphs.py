"""An encoder as a graph that needs neither this package nor OpenMMLab.

Shape legend: ``B`` images of ``(H, W)`` pixels, ``(h, w)`` patches, ``P`` of them in
all, ``K`` class tokens (0 or 1), ``D`` channels.
"""

import importlib.util
import os
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..transfer.integrity import replace_durably
from .encoder_file import Encoder

GRAPHS = dict(onnx='.onnx', torch='.pt2')
"""What is written, and how the file ends."""
_TOLERANCE = 1e-4
_LONGEST = 512  # patches of a side


class EncoderGraph(nn.Module):
    """The forward pass of an encoder, in operations that every exporter knows.

    Positions are interpolated to the size of the images, as in the network itself.

    Args:
        encoder: The encoder.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode images.

        Args:
            images: Red, green and blue from 0.0 to 1.0, ``(B, 3, H, W)``.

        Returns:
            Tokens after the final norm, ``(B, K + P, D)``, and the mean of the patch
            tokens, ``(B, D)``.
        """
        vit = self.encoder.backbone
        extra = cast(int, vit.num_extra_tokens)
        images = (images - self.encoder.mean) / self.encoder.std
        grid = vit.patch_embed.projection(images)  # (B, D, h, w)
        rows, columns = cast(tuple[int, int], vit.patch_resolution)
        # (1, K + P', D) -> (1, D, rows, columns) -> (1, D, h, w)
        position = (
            vit.pos_embed[:, extra:].transpose(1, 2).unflatten(2, (rows, columns))
        )
        position = F.interpolate(
            position, grid.shape[2:], mode=vit.interpolate_mode, align_corners=False
        )
        tokens = (grid + position).flatten(2).transpose(1, 2)  # (B, P, D)
        if extra:
            token = vit.cls_token + vit.pos_embed[:, :extra]  # (1, 1, D)
            tokens = torch.cat([token.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        tokens = vit.pre_norm(tokens)
        for layer in vit.layers:
            tokens = layer(tokens)
        tokens = vit.ln1(tokens)
        return tokens, tokens[:, extra:].mean(1)


def write_graph(encoder: Encoder, out: str | Path, kind: str) -> float:
    """Export an encoder for any batch and any image size that its patches divide.

    The file is read again and compared with the network at two sizes before it is moved
    to its place.

    Args:
        encoder: The encoder, on the CPU.
        out: File to write; nothing may be there.
        kind: 'onnx' (needs onnx and onnxscript; onnxruntime compares) or 'torch' for a
            program of ``torch.export``.

    Returns:
        The largest difference of a feature from the network's.

    Raises:
        ValueError: The suffix is another, there is something at the output, or a
            package is missing.
    """
    out = Path(out).expanduser()
    if out.suffix != GRAPHS[kind]:
        raise ValueError(f'{out} has to end in {GRAPHS[kind]}')
    if out.exists():
        raise ValueError(f'{out} exists and is not overwritten: give another name')
    needed = ('onnx', 'onnxscript', 'onnxruntime') if kind == 'onnx' else ()
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f'{out} needs {" and ".join(missing)}: pip install {" ".join(missing)}'
        )
    graph = EncoderGraph(encoder.cpu()).eval()
    step = encoder.backbone.patch_size
    size = [min(_LONGEST, side + step) for side in (2 * step, 3 * step)]
    example = torch.rand(2, 3, *size)
    dim = torch.export.Dim
    sides = [dim(name, min=1, max=_LONGEST) * step for name in ('rows', 'columns')]
    shapes = dict(images={0: dim('batch', min=1, max=4096), 2: sides[0], 3: sides[1]})
    draft = out.with_name(f'.{out.stem}.{os.getpid()}{out.suffix}')
    try:
        with torch.no_grad():
            _EXPORTERS[kind](graph, example, shapes, draft)
            worst = _compare(graph, draft, kind)
        replace_durably(draft, out)
    finally:
        draft.unlink(missing_ok=True)
    return worst


def _export_onnx(graph: nn.Module, example: Tensor, shapes: dict, path: Path) -> None:
    torch.onnx.export(
        graph,
        (example,),
        str(path),
        dynamo=True,
        dynamic_shapes=shapes,
        input_names=['images'],
        output_names=['tokens', 'pooled'],
        external_data=False,
        verbose=False,
    )


def _export_torch(graph: nn.Module, example: Tensor, shapes: dict, path: Path) -> None:
    # not strict: the bytecode of the host's decorators is not traced, as from 2.7 on
    program = torch.export.export(
        graph, (example,), dynamic_shapes=shapes, strict=False
    )
    torch.export.save(program, str(path))


_EXPORTERS = dict(onnx=_export_onnx, torch=_export_torch)


def _compare(graph: EncoderGraph, path: Path, kind: str) -> float:
    """The largest difference of what is in the file, at two sizes."""
    run = _runner(path, kind)
    height, width = graph.encoder.image_size
    step = graph.encoder.backbone.patch_size
    worst = 0.0
    for size in ((height, width), (height + step, width)):
        images = torch.rand(1, 3, *size)
        expected = graph.encoder(images)
        tokens, pooled = run(images)
        patches = tokens[:, -expected.patches.shape[1] :]
        for found, wanted in ((patches, expected.patches), (pooled, expected.pooled)):
            worst = max(worst, float((found - wanted).abs().max()))
    if not worst < _TOLERANCE:
        raise ValueError(
            f'{path.name} differs from the network by {worst:.1e}: nothing was written'
        )
    return worst


def _runner(path: Path, kind: str) -> Any:
    if kind == 'torch':
        return torch.export.load(str(path)).module()
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(path), providers=['CPUExecutionProvider']
    )
    return lambda images: [
        torch.from_numpy(value)
        for value in session.run(None, dict(images=images.numpy()))
    ]
