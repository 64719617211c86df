#!/usr/bin/env python
"""Measure every saliency proxy at every block against masks: table and picture.

python tools/saliency.py epoch_600.pth --images coco/val2017 \
    --masks coco/annotations/instances_val2017.json
python tools/saliency.py epoch_600.pth --images ade/images/validation \
    --masks ade/annotations/validation --ground 0 1 3 4
"""

import argparse
import sys
from pathlib import Path

from dseq_mm.cli.figures import check_picture
from dseq_mm.cli.resume import check_file
from dseq_mm.data.figures import Figures
from dseq_mm.evaluation.encoder_file import load_encoder
from dseq_mm.evaluation.proxies import best, measure_proxies
from dseq_mm.evaluation.step_loss import load_algorithm
from dseq_mm.runs.table import grid
from dseq_mm.utils import command
from dseq_mm.utils.files import write_text
from dseq_mm.visualization.proxies import draw_proxies


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program; those of the process by default.

    Returns:
        The arguments.
    """
    parser = command.Parser(description=__doc__.split('\n')[0])
    whole, label = command.whole_number(1), command.whole_number(0)
    parser.add_argument('checkpoint', help='any file of weights; Grad-CAM needs ours')
    parser.add_argument('--images', required=True, help='folder of images')
    parser.add_argument(
        '--masks',
        required=True,
        help="COCO's instances_*.json, or a folder of maps of labels",
    )
    parser.add_argument(
        '--ground', nargs='+', type=label, default=[0], help='labels that are ground'
    )
    parser.add_argument(
        '--ignored', nargs='+', type=label, default=[255], help='labels of neither'
    )
    parser.add_argument(
        '--num', type=whole, default=500, help='images, spread over all'
    )
    parser.add_argument('--regions', type=whole, help='how many; as it was trained')
    parser.add_argument('--inverted', action='store_true', help='all proxies inverted')
    parser.add_argument('--encoder', choices=('target', 'context'), default='target')
    parser.add_argument('--heads', type=whole, help='where the file does not tell them')
    parser.add_argument('--out', type=Path, help='also write the table, as Markdown')
    parser.add_argument('--picture', help='also draw it: .png, .pdf or .svg')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Measure, and print the table.

    Args:
        argv: Arguments of the command line; those of the process by default.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ValueError: Something cannot be measured.
    """
    args = parse_args(argv)
    check_file(args.checkpoint)
    if args.out:
        command.check_output(args.out, '--out')
    if args.picture:
        check_picture(args.picture)
    figures = Figures(args.images, args.masks, args.ground, args.ignored, args.num)
    encoder = load_encoder(args.checkpoint, args.encoder, args.heads)
    try:
        algorithm = load_algorithm(args.checkpoint).eval()
    except ValueError:
        algorithm = None
        print('Grad-CAM is left out: it needs the predictor of a checkpoint of ours.')
    polarity = 'inverted' if args.inverted else 'as_is'
    rows = measure_proxies(encoder, figures, algorithm, polarity, args.regions)
    heading = ('proxy', 'block', 'AUC', 'pointing', 'R1 on figure', 'R1 IoU', 'figure')
    lines = [
        [row.proxy, '' if row.block is None else str(row.block)]
        + [f'{value:.3f}' for value in row[2:]]
        for row in rows
    ]
    table = grid(heading, lines)
    print(f'{len(figures)} images, proxies {polarity.replace("_", " ")}\n{table}')
    found = best(rows)
    place = '' if found.block is None else f' at block {found.block}'
    print(f'Best by AUC: {found.proxy}{place}, {found.saliency_auc:.3f}.')
    if args.out:
        write_text(args.out, f'{table}\n')
    if args.picture:
        draw_proxies(rows).savefig(args.picture, dpi=120)


if __name__ == '__main__':
    sys.exit(command.run(main))
