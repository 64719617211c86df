"""Verify data before hours are spent on them.

python tools/check_data.py coco
python tools/check_data.py imagenet --root /datasets/imagenet
python tools/check_data.py folder /data/photos
python tools/check_data.py config my_config.py

A data set by its name, any folder of images, or all data sets of a config. One line
per check, and exit status 1 if there is a problem. docs/data.md says more.
"""

import argparse
import sys

from dseq_mm.cli import launch
from dseq_mm.cli.options import add_options_argument
from dseq_mm.utils import command
from dseq_mm.utils.configs import read_config

try:
    from dseq_mm.data.layout import DATA_SETS, check
except ModuleNotFoundError as error:
    if error.name != 'mat4py':
        raise
    sys.exit(
        'mat4py, a requirement of mmpretrain, is missing: Stanford Cars is read with '
        'it, and without it no data set of mmpretrain can be imported. Install it: '
        'pip install mat4py'
    )


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Args:
        argv: Arguments of the command line; those of the process by default.

    Returns:
        The options.
    """
    parser = command.Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'name', choices=[*DATA_SETS, 'folder', 'config'], help='data set, or what else'
    )
    parser.add_argument(
        'paths', nargs='*', metavar='PATH', help='folders, lists, archives; or a config'
    )
    parser.add_argument(
        '--root', help="a data set's folder; by default where the configs look for it"
    )
    parser.add_argument(
        '--samples',
        type=command.whole_number(1),
        help='images to decode: 64 per split of a data set, all of folders by default',
    )
    add_options_argument(parser)
    args = parser.parse_args(argv)
    named = args.name in DATA_SETS
    if named and args.paths:
        parser.error(f'{args.name} takes no PATH; name its folder by --root')
    if not named and not args.paths:
        parser.error(f'{args.name} needs a PATH')
    if args.name == 'config' and len(args.paths) > 1:
        parser.error('config takes one PATH')
    if not named and args.root is not None:
        parser.error(f'--root is for a data set by its name, not for {args.name}')
    if args.name != 'config' and args.cfg_options:
        parser.error(f'--cfg-options are for config, not for {args.name}')
    if args.name == 'config' and args.samples is not None:
        parser.error('--samples is for folder and data sets by name, not for config')
    return args


def main(argv: list[str] | None = None) -> int:
    """Run the tool.

    Args:
        argv: Arguments of the command line; those of the process by default.

    Returns:
        0 if nothing is wrong, 1 otherwise.
    """
    args = parse_arguments(argv)
    if args.name == 'folder':
        from dseq_mm.data.checks.folder import check_folder

        number, what = check_folder(args.paths, args.samples), ', '.join(args.paths)
    elif args.name == 'config':
        from dseq_mm.cli.config_checks import check_config

        what = args.paths[0]
        cfg = read_config(what)
        launch.change_config(cfg, args.cfg_options)
        number = check_config(cfg)
    else:
        report = check(args.name, args.root, args.samples or 64)
        number, what = len(report.problems), report.root
    problems = f'{number} problem{"s" * (number != 1)}'
    print(f'\n{what}: {problems if number else "all is well"}')
    return int(number > 0)


if __name__ == '__main__':
    sys.exit(command.run(main))
