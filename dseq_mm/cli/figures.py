"""Files that pictures are written to."""

from pathlib import Path

from matplotlib.backend_bases import FigureCanvasBase

from ..utils import command


def check_picture(out: str) -> None:
    """Make sure that the picture can be written, before anything is computed.

    Args:
        out: Its path.

    Raises:
        ValueError: If it cannot, or its suffix is no picture's.
    """
    command.check_output(out, 'OUT')
    known = FigureCanvasBase.get_supported_filetypes()
    if Path(out).suffix[1:].lower() not in known:
        raise ValueError(f'OUT {out}: pictures are .{", .".join(sorted(known))}')
