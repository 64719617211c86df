"""Writes DigitScenes, the data set that needs no download, to a folder."""

import argparse
import inspect

from dseq_mm.data.digit_files import make_digit_scenes, read_manifest

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
    parser = argparse.ArgumentParser(
        description='Write DigitScenes: an image folder of digits, and scenes with '
        'COCO instances, segmentation maps, count and distance labels. A folder that '
        'holds the same build is left as it is; any other content is refused.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('out', nargs='?', default='data/digitscenes', help='folder')
    defaults = inspect.signature(make_digit_scenes).parameters
    for name, text in HELP.items():
        flag = '--' + name.replace('_', '-')
        parser.add_argument(flag, type=int, default=defaults[name].default, help=text)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Write the build and say what was done.

    Args:
        argv: Arguments; those of the process if None.
    """
    args = vars(parse_args(argv))
    out = args.pop('out')
    try:
        written = make_digit_scenes(out, **args)
    except (ImportError, ValueError) as error:
        raise SystemExit(f'error: {error}') from error
    done = 'wrote' if written else 'nothing to do, the same build is in'
    print(f'{done} {out} (sha256 {read_manifest(out)["sha256"][:16]})')


if __name__ == '__main__':
    main()
