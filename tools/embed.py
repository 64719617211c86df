"""Write the features of all images of some folders: no config, no labels.

    python tools/embed.py backbone.pth photos features.npy
    python tools/embed.py backbone.pth photos features.csv --neighbors 5 --of a.jpg

Several GPUs: torchrun --nproc_per_node 8 tools/embed.py ... --launcher pytorch
"""

import argparse
import sys
from pathlib import Path

import cv2
from mmengine.config import Config
from mmengine.dist import init_dist, is_distributed, is_main_process

from dseq_mm.cli.processes import check_launcher, leave_group, prepare_distributed
from dseq_mm.cli.resume import check_file
from dseq_mm.data.load_image import LoadImage
from dseq_mm.data.own_images import is_image
from dseq_mm.evaluation.embedding import KINDS, check_table, embed
from dseq_mm.evaluation.encoder_file import Encoder, load_encoder
from dseq_mm.evaluation.neighbors import nearest_images
from dseq_mm.utils import command


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Args:
        argv: Arguments; those of the process by default.

    Returns:
        The options.
    """
    parser = command.Parser(description=__doc__.split('\n')[0])
    whole = command.whole_number(1)
    parser.add_argument(
        'backbone', help='checkpoint, export, or folder of transformers'
    )
    parser.add_argument('sources', nargs='+', help='folders, lists, tar archives')
    parser.add_argument('out', type=Path, help='.npy, .csv or .parquet')
    parser.add_argument('--features', choices=KINDS, default='pooled')
    parser.add_argument('--size', type=whole, help="side in pixels; the encoder's own")
    parser.add_argument(
        '--crop-ratio',
        type=float,
        default=0.875,
        help='side of the middle crop over the short side of the resized image; 1.0 '
        'crops no more than makes it square',
    )
    parser.add_argument('--batch', type=whole, default=64, help='images at a time')
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--encoder', choices=('target', 'context'), default='target')
    parser.add_argument('--heads', type=whole, help='where the file does not tell them')
    parser.add_argument(
        '--neighbors', type=whole, metavar='K', help='also draw the K nearest images'
    )
    parser.add_argument(
        '--of', nargs='+', default=[], help='images to draw neighbors of; the first'
    )
    parser.add_argument('--launcher', choices=('none', 'pytorch'), default='none')
    args = parser.parse_args(argv)
    if args.of and not args.neighbors:
        parser.error('--of is for --neighbors K')
    return args


def draw(args: argparse.Namespace, encoder: Encoder, embeddings) -> None:
    """Draw the nearest neighbors beside the table.

    Args:
        args: The options.
        encoder: The encoder.
        embeddings: Of all images.
    """
    from dseq_mm.visualization.neighbors import draw_neighbors

    asked = args.of or embeddings.names[:1]
    queries = embed(encoder, asked, args.features, args.size, args.crop_ratio)
    found, cosine = nearest_images(queries, embeddings, args.neighbors)
    load = LoadImage()

    def read(name: str):
        """Read an image as RGB."""
        return cv2.cvtColor(load(dict(img_path=name))['img'], cv2.COLOR_BGR2RGB)

    pictures = [[read(name) for name in names] for names in found]
    figure = draw_neighbors([read(name) for name in queries.names], pictures, cosine)
    picture = args.out.with_suffix('.png')
    figure.savefig(picture, dpi=120)
    print(f'{picture}: {args.neighbors} neighbors of {len(asked)} images')


def main(argv: list[str] | None = None) -> None:
    """Run the tool.

    Args:
        argv: Arguments of the command line; those of the process by default.
    """
    args = parse_arguments(argv)
    check_launcher(args.launcher)
    check_file(args.backbone)
    command.check_output(args.out, 'OUT')
    check_table(args.out, args.features)
    for name in args.of:
        if not is_image(name):
            raise ValueError(f'--of {name}: there is no such image')
    if args.neighbors and args.features == 'patches':
        raise ValueError('--neighbors compares whole images: take other --features')
    prepare_distributed(Config(), args.launcher)
    if args.launcher != 'none' and not is_distributed():
        init_dist(args.launcher)
    encoder = load_encoder(args.backbone, args.encoder, args.heads)
    embeddings = embed(
        encoder,
        args.sources,
        args.features,
        args.size,
        args.crop_ratio,
        args.batch,
        args.workers,
    )
    if is_main_process():
        embeddings.write(args.out)
        shape = ' x '.join(map(str, embeddings.values.shape))
        print(f'{args.out}: {shape}, {args.features}')
        for name, reason in embeddings.failed.items():
            print(f'left out: {name}: {reason}', file=sys.stderr)
        if args.neighbors:
            draw(args, encoder, embeddings)
    leave_group()


if __name__ == '__main__':
    sys.exit(command.run(main))
