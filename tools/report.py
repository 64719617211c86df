#!/usr/bin/env python
"""Write one page of HTML about a training: what was run, curves, alarms, pictures.

python tools/report.py work_dirs/dseq_vitb16_600e
python tools/report.py work_dirs/own --images photos --tables table.md
"""

import argparse
import sys

from dseq_mm.report import write_report
from dseq_mm.utils import command


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program; those of the process by default.

    Returns:
        The arguments.
    """
    parser = command.Parser(description=__doc__.split('\n')[0])
    parser.add_argument('work_dir', help='folder of a training')
    parser.add_argument('--out', help='file to write; report.html in the folder')
    parser.add_argument(
        '--images',
        nargs='+',
        default=[],
        metavar='PLACE',
        help='what to draw: image files, folders, lists, tar archives; by default '
        'those that it was trained on',
    )
    parser.add_argument(
        '--num', type=command.whole_number(1), default=4, help='how many images'
    )
    parser.add_argument(
        '--tables',
        nargs='+',
        default=[],
        metavar='FILE',
        help='tables in Markdown from elsewhere, such as those of tools/evaluate.py',
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Write the report.

    Args:
        argv: Arguments of the command line; those of the process by default.
    """
    args = parse_args(argv)
    if args.out:
        command.check_output(args.out, '--out')
    path = write_report(args.work_dir, args.out, args.images, args.num, args.tables)
    print(f'{path}: open it in a browser')


if __name__ == '__main__':
    sys.exit(command.run(main))
