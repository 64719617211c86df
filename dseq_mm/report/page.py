"""The page, from what was collected: text, curves, pictures. It needs no network."""

import base64
import io
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import matplotlib
import matplotlib.style
from matplotlib.figure import Figure

from ..evaluation import PAGES, load_encoder, read_pictures
from ..utils.command import explain
from ..utils.files import write_text
from ..version import __version__
from ..visualization import draw_curves
from .collect import Training, collect
from .gflop import count_gflop

#: Pages of pictures of the last checkpoint, and what they are called.
GALLERY = dict(
    regions='Where it looks, and in what order',
    steps='What is predicted from what, step by step',
    attention='What the class token attends to, by head',
    pca='Patches as colors: alike where features are',
    clusters='Clusters of the patches of each image',
)


class Drawing(NamedTuple):
    """A picture for light and for dark.

    Attributes:
        light: As a data address.
        dark: The same.
        title: What it shows.
    """

    light: str
    dark: str
    title: str


def write_report(
    work_dir: str | Path,
    out: str | Path | None = None,
    images: Sequence[str] = (),
    number: int = 4,
    tables: Sequence[str] = (),
) -> Path:
    """Write the report of a training.

    Args:
        work_dir: The folder of the training.
        out: The file; ``report.html`` in the folder by default.
        images: What to draw; by default the images that it was trained on, if they are
            still where they were. Without images there are no pictures.
        number: How many images, spread over all.
        tables: Tables in Markdown from elsewhere, such as those of tools/evaluate.py.

    Returns:
        The file.

    Raises:
        FileNotFoundError: There is no such folder or table.
        ValueError: The folder has no log of a training, or images that were asked for
            cannot be drawn.
    """
    training = collect(work_dir, tables)
    training.cost += count_gflop(training.settings)
    gallery, notes = _gallery(training, images, number)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader('dseq_mm', 'report'),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    content = environment.get_template('report.html').render(
        training=training,
        curves=draw_twice(lambda: draw_curves({'': training.scalars}), 'curves', 'svg'),
        gallery=gallery,
        notes=notes,
        columns=sorted({name for _, row in training.measured for name in row}),
        tables={name: _table(text) for name, text in training.tables.items()},
        version=__version__,
    )
    path = Path(out) if out else Path(work_dir) / 'report.html'
    write_text(path, content)
    return path


def draw_twice(draw: Callable[[], Figure], title: str, kind: str = 'png') -> Drawing:
    """Draw a picture for light and for dark.

    Args:
        draw: Draws it.
        title: What it shows.
        kind: 'png' or 'svg'.

    Returns:
        The two.
    """
    found = {}
    for name, style in dict(light='default', dark='dark_background').items():
        with matplotlib.style.context(style):
            buffer = io.BytesIO()
            draw().savefig(buffer, format=kind, dpi=100, transparent=True)
        mime = 'svg+xml' if kind == 'svg' else kind
        text = base64.b64encode(buffer.getvalue()).decode('ascii')
        found[name] = f'data:image/{mime};base64,{text}'
    return Drawing(**found, title=title)


def _gallery(
    training: Training, images: Sequence[str], number: int
) -> tuple[list[Drawing], list[str]]:
    """Pages of the last checkpoint, and why some are missing."""
    places = [*images] or _own_images(training.settings)
    if not training.checkpoints:
        return [], ['There is no checkpoint, so nothing of it is drawn.']
    if not places:
        return [], ['The images are not where they were: give --images to draw some.']
    try:
        encoder = load_encoder(training.checkpoints[-1])
        pictures = read_pictures(places, encoder, number)
    except ValueError as error:
        if images:
            raise
        return [], [f'No pictures: {explain(error)}.']
    encoders = {training.checkpoints[-1].stem: encoder}
    drawings, notes = [], []
    for kind, title in GALLERY.items():
        try:
            draw = partial(PAGES[kind], encoders, pictures)
            drawings.append(draw_twice(draw, title))
        except ValueError as error:
            notes.append(f'No picture of {kind}: {explain(error)}.')
    return drawings, notes


def _own_images(settings: dict[str, Any]) -> list[str]:
    """The images that a config trains on, if they are there."""
    dataset: Any = (settings.get('train_dataloader') or {}).get('dataset') or {}
    while isinstance(dataset.get('dataset'), dict):
        dataset = dataset['dataset']
    if sources := dataset.get('sources'):
        places = [sources] if isinstance(sources, str) else [*sources]
    else:
        prefix = dataset.get('data_prefix') or ''
        prefix = next(iter(prefix.values()), '') if isinstance(prefix, dict) else prefix
        root = dataset.get('data_root') or ''
        places = [str(Path(root, str(prefix)))] if root or prefix else []
    return places if places and all(Path(place).exists() for place in places) else []


def _table(text: str) -> str:
    """A table in Markdown as HTML."""
    try:
        import markdown
    except ImportError:
        escaped = text.replace('&', '&amp;').replace('<', '&lt;')
        return f'<pre>{escaped}</pre>'
    escaped = text.replace('&', '&amp;').replace('<', '&lt;')
    return markdown.markdown(escaped, extensions=['tables'])
