"""Verify the folder of a data set before hours are spent on it.

python tools/check_data.py coco
python tools/check_data.py imagenet --root /datasets/imagenet

One line per check, and exit status 1 if there is a problem. docs/data.md says where to
get the data sets.
"""

import argparse
import sys

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


def main(argv: list[str] | None = None) -> int:
    """Run the tool.

    Args:
        argv: Arguments of the command line; those of the process by default.

    Returns:
        0 if nothing is wrong, 1 otherwise.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('name', choices=DATA_SETS, help='data set')
    parser.add_argument(
        '--root', help='its folder; by default where the configs look for it'
    )
    parser.add_argument(
        '--samples', type=int, default=64, help='images to decode per split'
    )
    args = parser.parse_args(argv)
    if args.samples < 1:
        parser.error('--samples must be at least 1')
    report = check(args.name, args.root, args.samples)
    number = len(report.problems)
    print(f'\n{report.root}: {f"{number} problems" if number else "all is well"}')
    return int(number > 0)


if __name__ == '__main__':
    sys.exit(main())
