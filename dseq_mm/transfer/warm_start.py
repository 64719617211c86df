"""Starting a new pre-training from earlier weights, all clocks at zero.

Shape legend: ``P`` patches, ``D`` channels.
"""

from pathlib import Path

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from .checkpoint import load_checkpoint
from .contents import check_finite, choose_encoder, meta_of, state_dict_of
from .initialize import compare_keys, load_backbone


def warm_start(model: nn.Module, path: str | Path, averages: dict[str, str]) -> None:
    """Load a backbone, and what else of the algorithm the file has.

    The context encoder starts from the file's target encoder (or from the encoder that
    it has); the algorithm then makes its averages equal to what they average. Of the
    other parts, such as the predictor, those are loaded that the file has in the same
    shapes; a line of the log says which start anew. So does a class token that the file
    has not.

    Args:
        model: The algorithm, with ``backbone``; changed in place.
        path: Pre-training checkpoint, exported backbone, or another file that
            :func:`load_backbone` reads.
        averages: Averages of the algorithm, which are not read from the file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read, or its encoder does not fit the backbone.
    """
    checkpoint = load_checkpoint(path)
    backbone = model.get_submodule('backbone')
    report = load_backbone(backbone, _with_class_token(backbone, checkpoint, path))
    print_log(f'Encoders start from {path}; {report}', logger='current')
    state = state_dict_of(checkpoint)
    for name, part in model.named_children():
        if name != 'backbone' and name not in averages and part.state_dict():
            _load_part(name, part, state)


def _with_class_token(backbone: nn.Module, checkpoint: dict, path: str | Path) -> dict:
    """The checkpoint, with the backbone's own class token if the file has none."""
    _, state = choose_encoder(checkpoint, 'target', str(path))
    token = getattr(backbone, 'cls_token', None)
    own = backbone.get_parameter('pos_embed')
    position = state.get('pos_embed')
    if token is None or 'cls_token' in state or position is None:
        return checkpoint
    if position.ndim != 3 or position.shape[::2] != own.shape[::2]:
        return checkpoint  # of another width, which is reported
    print_log('the class token starts anew: the file has none', logger='current')
    # (1, P, D) -> (1, 1 + P, D): the token's own position in front
    position = torch.cat([own[:, :1].detach().to(position), position], dim=1)
    state = {**state, 'cls_token': token.detach(), 'pos_embed': position}
    return dict(meta=meta_of(checkpoint), state_dict=state)


def _load_part(name: str, part: nn.Module, state: dict[str, Tensor]) -> None:
    """Load one part if the file has all of it; say what was done."""
    prefix = f'{name}.'
    found = {
        key.removeprefix(prefix): value
        for key, value in state.items()
        if key.startswith(prefix)
    }
    report = compare_keys(part.state_dict(), found, name)
    if found and not (report.missing or report.unexpected or report.mismatched):
        check_finite(found, f'part {name} of the checkpoint')
        part.load_state_dict(found)
        print_log(f'{name} starts from the same file', logger='current')
        return
    why = 'that of the file has other shapes' if found else 'the file has none'
    print_log(f'{name} starts anew: {why}', logger='current')
