#!/usr/bin/env python
"""Draw what encoders make of any images, and how a training went. No config is needed.

python tools/visualize.py regions epoch_600.pth --images photos
python tools/visualize.py pca ijepa.pth dseq.pth --images a.jpg b.jpg --size 448
python tools/visualize.py clusters epoch_{150,300,450,600}.pth --images photos
python tools/visualize.py curves work_dirs/dseq_vitb16_600e
"""

import argparse
import os
import sys
from pathlib import Path

from matplotlib.figure import Figure

from dseq_mm.cli.figures import check_picture
from dseq_mm.evaluation.embedding import embed
from dseq_mm.evaluation.encoder_file import Encoder, load_encoder
from dseq_mm.evaluation.neighbors import nearest_images
from dseq_mm.evaluation.pages import PAGES
from dseq_mm.evaluation.pictures import read_pictures
from dseq_mm.evaluation.step_loss import step_losses
from dseq_mm.utils import command
from dseq_mm.visualization.curves import draw_curves, draw_step_losses, read_scalars
from dseq_mm.visualization.neighbors import draw_neighbors
from dseq_mm.visualization.patches import map_to_plane
from dseq_mm.visualization.scatter import draw_map

KINDS = {
    'regions': 'saliency, Otsu map, ordered regions; several files side by side',
    'steps': 'context and target of each step of prediction',
    'attention': 'of the class token, by heads or by layers',
    'pca': 'principal components of the patches as colors',
    'similarity': 'of one patch to all others',
    'clusters': 'of the patches of each image',
    'neighbors': 'nearest images',
    'map': 'all images in the plane, by t-SNE or UMAP',
    'loss': 'of each region that is predicted; checkpoints of one training',
    'curves': 'what trainings have logged; FILE is a work dir',
}
_FEWEST = dict(map=200, loss=100)  # images, where six are too few


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program; those of the process by default.

    Returns:
        The arguments.
    """
    rows = '\n'.join(f'  {kind:<12}{text}' for kind, text in KINDS.items())
    parser = command.Parser(
        description=f'{__doc__.split(chr(10))[0]}\n\nkinds:\n{rows}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole = command.whole_number(1)
    parser.add_argument('kind', choices=KINDS, metavar='KIND')
    parser.add_argument(
        'files',
        nargs='+',
        metavar='FILE',
        help='checkpoint, export, or folder of transformers; for curves a work dir',
    )
    parser.add_argument(
        '--images',
        nargs='+',
        action='extend',
        default=[],
        metavar='PLACE',
        help='image files, folders, lists (.txt), tar archives',
    )
    parser.add_argument('--out', help='.png, .pdf or .svg; KIND.png by default')
    parser.add_argument('--num', type=whole, help='images, spread over all; 6')
    parser.add_argument('--size', type=whole, help="short side; the encoder's own")
    parser.add_argument('--encoder', choices=('target', 'context'), default='target')
    parser.add_argument('--heads', type=whole, help='where the file does not tell them')
    parser.add_argument('--regions', type=whole, help='regions and steps: how many')
    parser.add_argument(
        '--layer', type=command.whole_number(0), help='attention: of it'
    )
    parser.add_argument('--by', choices=('heads', 'layers'), default='heads')
    parser.add_argument(
        '--patch',
        nargs=2,
        type=float,
        default=(0.5, 0.5),
        metavar=('DOWN', 'RIGHT'),
        help='similarity: which patch, as shares of height and width',
    )
    parser.add_argument(
        '--clusters', nargs='+', type=command.whole_number(2), default=[4, 5]
    )
    parser.add_argument('--neighbors', type=whole, default=6, help='of each image')
    parser.add_argument('--method', choices=('tsne', 'umap'), default='tsne')
    args = parser.parse_args(argv)
    args.out = args.out or f'{args.kind}.png'
    if args.kind == 'curves' and args.images:
        parser.error('curves are those of a log: leave --images out')
    if args.kind != 'curves' and not args.images:
        parser.error(f'{args.kind} needs --images: image files, folders, lists, tars')
    args.num = args.num or _FEWEST.get(args.kind, 6)
    return args


def names_of(files: list[str]) -> list[str]:
    """Short names of files that tell them apart.

    Args:
        files: Paths.

    Returns:
        Names of the files, with their folders where two are the same.
    """
    stems = [Path(file).stem for file in files]
    if len(set(stems)) == len(stems):
        return stems
    tails = [f'{Path(file).parent.name}/{Path(file).stem}' for file in files]
    return tails if len(set(tails)) == len(tails) else files


def draw(args: argparse.Namespace) -> Figure:
    """Draw the page.

    Args:
        args: The options.

    Returns:
        The figure.
    """
    names = names_of(args.files)
    if args.kind == 'curves':
        scalars = map(read_scalars, args.files)
        return draw_curves(dict(zip(names, scalars, strict=True)))
    if args.kind == 'loss':
        losses = {
            name: step_losses(file, args.images, args.num)
            for name, file in zip(names, args.files, strict=True)
        }
        for name, values in losses.items():
            print(name, *(f'R{i} {v:.4f}' for i, v in enumerate(values, 2)))
        return draw_step_losses(losses)
    encoders = {
        name: load_encoder(file, args.encoder, args.heads)
        for name, file in zip(names, args.files, strict=True)
    }
    if args.kind in ('neighbors', 'map'):
        if len(encoders) > 1:
            raise ValueError(f'{args.kind} draws one file: give one')
        return draw_features(args, next(iter(encoders.values())))
    first = next(iter(encoders.values()))
    pictures = read_pictures(args.images, first, args.num, args.size)
    options = dict(
        regions=dict(num_regions=args.regions),
        steps=dict(num_regions=args.regions),
        attention=dict(layer=args.layer, by=args.by),
        similarity=dict(patch=tuple(args.patch)),
        clusters=dict(counts=args.clusters),
    )
    return PAGES[args.kind](encoders, pictures, **options.get(args.kind, {}))


def draw_features(args: argparse.Namespace, encoder: Encoder) -> Figure:
    """Draw what pooled features say of whole images.

    Args:
        args: The options.
        encoder: The encoder.

    Returns:
        The figure.
    """
    bank = embed(encoder, args.images, image_size=args.size)

    def read(files: list[str]) -> list:
        """Pixels of some images."""
        return [picture.shown for picture in read_pictures(files, encoder, len(files))]

    if args.kind == 'map':
        chosen = range(0, len(bank.names), max(1, len(bank.names) // args.num))
        names = [bank.names[index] for index in chosen]
        plane = map_to_plane(bank.values[list(chosen)], args.method)
        groups = [Path(name).parent.name for name in names]
        title = f'{len(names)} of {len(bank.names)} images by {args.method}'
        return draw_map(plane, read(names), groups, title)
    names = [picture.name for picture in read_pictures(bank.names, encoder, args.num)]
    rows = [bank.names.index(name) for name in names]
    asked = type(bank)(names, bank.values[rows], {})
    found, cosine = nearest_images(asked, bank, args.neighbors)
    return draw_neighbors(read(names), [read(near) for near in found], cosine)


def main(argv: list[str] | None = None) -> None:
    """Draw, and write the picture.

    Args:
        argv: Arguments of the command line; those of the process by default.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Something cannot be drawn.
    """
    args = parse_args(argv)
    check_picture(args.out)
    for file in args.files:
        if not os.path.exists(file):
            raise FileNotFoundError(f'{file}: there is no such file or folder')
    figure = draw(args)
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out, dpi=130)
    print(f'{args.out}: {KINDS[args.kind]}')


if __name__ == '__main__':
    sys.exit(command.run(main))
