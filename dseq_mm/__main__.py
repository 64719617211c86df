"""The command ``dseq-mm``, which is ``python -m dseq_mm``: each tool by one word.

dseq-mm train dseq_vitb16_600e --data FOLDER_OF_IMAGES

In several processes, without a shell::

    python -m torch.distributed.run --nproc_per_node=8 -m dseq_mm \
        train dseq_vitb16_600e --launcher pytorch
"""

import os
import runpy
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from . import doctor
from .registration import register_with_host
from .utils import command
from .utils.shipped import PACKAGE, shipped_folder
from .version import __version__

#: Word to the file in ``tools``, empty for the doctor, and what it does.
COMMANDS = {
    'doctor': ('', 'say what is installed, what is missing, and what mends it'),
    'make-digitscenes': ('make_digitscenes', 'write a data set to try things on'),
    'check-data': ('check_data', 'verify data before hours are spent on them'),
    'train': ('train', 'train with a config, by its name or path'),
    'test': ('test', 'evaluate a checkpoint with a config'),
    'knn': ('knn', 'measure a frozen backbone by kNN'),
    'export': ('export_backbone', 'write the backbone of a checkpoint to a file'),
    'convert': ('convert_checkpoint', 'write a checkpoint in another layout'),
    'embed': ('embed', 'write the features of folders of images'),
    'regions': ('visualize_regions', 'draw image, saliency and ordered regions'),
    'visualize': ('visualize', 'draw what encoders make of any images, and curves'),
    'saliency': ('saliency', 'measure saliency proxies against masks'),
    'report': ('report', 'write one page of HTML about a training'),
    'evaluate': ('evaluate', 'run many transfer tasks and write one table'),
    'ablate': ('ablate', 'run tables of ablations, with several seeds'),
}
_NAME = 'dseq-mm'


def usage() -> str:
    """List the commands.

    Returns:
        A line for each.
    """
    rows = [f'  {word:<17} {text}' for word, (_, text) in COMMANDS.items()]
    first = f'usage: {_NAME} COMMAND ...  ({_NAME} COMMAND --help says more)'
    return '\n'.join([first, *rows])


def main(argv: Sequence[str] | None = None) -> int:
    """Run a tool.

    Args:
        argv: Its word and its arguments; those of the process by default.

    Returns:
        The exit status, if the tool does not end the process itself.
    """
    word, *rest = (sys.argv[1:] if argv is None else argv) or ['']
    if word == '--version':
        print(f'{_NAME} {__version__}')
        return 0
    if word in ('-h', '--help'):
        print(usage())
        return 0
    if word not in COMMANDS:
        if word:
            near = command.nearest(word.replace('_', '-'), COMMANDS, 0.5)
            meant = f'; did you mean {near}?' if near else ''
            print(f'{_NAME}: error: {word!r} is no command{meant}', file=sys.stderr)
        print(usage(), file=sys.stderr)
        return command.USER_ERROR
    command.name_program(f'{_NAME} {word}')
    return command.run(_tool(COMMANDS[word][0]), rest)


def _tool(name: str) -> Callable[[Sequence[str]], int | None]:
    """What runs a file of ``tools``, or the doctor, with its arguments."""
    return partial(_run_file, f'{name}.py') if name else doctor.main


def _run_file(name: str, argv: Sequence[str]) -> None:
    """Run a file of ``tools`` as the program that it is."""
    # found from the current folder, the package is to be found by other processes too
    if Path(sys.path[0]).resolve() == PACKAGE.parent:
        known = os.environ.get('PYTHONPATH')
        paths = [str(PACKAGE.parent), *([known] if known else [])]
        os.environ['PYTHONPATH'] = os.pathsep.join(paths)
    register_with_host()
    sys.argv[1:] = argv
    runpy.run_path(str(shipped_folder('tools') / name), run_name='__main__')


if __name__ == '__main__':
    sys.exit(main())
