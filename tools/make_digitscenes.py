"""Write DigitScenes, the data set that needs no download, to a folder."""

import argparse
import inspect
import sys

from dseq_mm.data.digit_files import make_digit_scenes, read_manifest
from dseq_mm.utils import command

HELP = dict(
    size='height and width of a digit picture in pixels',
    train='digit pictures for training',
    val='digit pictures for validation',
    scene_size='height and width of a scene in pixels',
    scenes_train='scenes for training',
    scenes_val='scenes for validation',
    seed='seed of all pictures',
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments; those of the process if None.

    Returns:
        `out` and the parameters of `make_digit_scenes`, with its defaults.
    """
    parser = command.Parser(
        description='Write DigitScenes: an image folder of digits, and scenes with '
        'COCO instances, segmentation maps, count and distance labels. A folder that '
        'holds the same build is left as it is; any other content is refused.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('out', nargs='?', default='data/digitscenes', help='folder')
    defaults = inspect.signature(make_digit_scenes).parameters
    for name, text in HELP.items():
        least = command.SEED if name == 'seed' else command.whole_number(1)
        flag = '--' + name.replace('_', '-')
        parser.add_argument(flag, type=least, default=defaults[name].default, help=text)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Write the build and say what was done.

    Args:
        argv: Arguments; those of the process if None.
    """
    args = vars(parse_args(argv))
    del args['debug']
    out = args.pop('out')
    command.check_folder(out, 'OUT')
    written = make_digit_scenes(out, **args)
    done = 'wrote' if written else 'nothing to do, the same build is in'
    print(f'{done} {out} (sha256 {read_manifest(out)["sha256"][:16]})')


if __name__ == '__main__':
    sys.exit(command.run(main))
