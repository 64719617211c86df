"""Starting a new pre-training from earlier weights, all clocks at zero."""

from pathlib import Path

from mmengine.logging import print_log
from torch import Tensor, nn

from .checkpoint import load_checkpoint
from .contents import check_finite, state_dict_of
from .initialize import compare_keys, load_backbone


def warm_start(model: nn.Module, path: str | Path, averages: dict[str, str]) -> None:
    """Load a backbone, and what else of the algorithm the file has.

    The context encoder starts from the file's target encoder (or from the encoder that
    it has); the algorithm then makes its averages equal to what they average. Of the
    other parts, such as the predictor, those are loaded that the file has in the same
    shapes; a line of the log says which start anew.

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
    report = load_backbone(model.backbone, checkpoint)
    print_log(f'Encoders start from {path}; {report}', logger='current')
    state = state_dict_of(checkpoint)
    for name, part in model.named_children():
        if name != 'backbone' and name not in averages and part.state_dict():
            _load_part(name, part, state)


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
