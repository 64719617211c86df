"""Run named tables of ablations with several seeds and write them beside the paper's.

python tools/ablate.py regions order --budget digitscenes_20e --seeds 0,1,2 --jobs 2
python tools/ablate.py all --budget vits16_100e --devices 0 1 2 3

python tools/ablate.py --tables my_tables.py mine --budget digitscenes_20e

A second call with the same arguments goes on where the first one stopped.
"""

import argparse
import os
import shlex
import signal
import sys
from pathlib import Path

import torch

from dseq_mm import runs, tables
from dseq_mm.cli.processes import check_devices
from dseq_mm.runs.engine import commands
from dseq_mm.runs.study import check_data
from dseq_mm.runs.study_table import write_tables
from dseq_mm.utils import command
from dseq_mm.utils.configs import BUDGET_VARIABLE
from dseq_mm.utils.stack import installed_versions

TOOLS = Path(__file__).resolve().parent


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program; those of the process by default.

    Returns:
        The arguments.
    """
    parser = command.Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'tables', nargs='*', metavar='TABLE', help=', '.join([*tables.TABLES, 'all'])
    )
    parser.add_argument(
        '--tables',
        dest='own_tables',
        type=Path,
        metavar='FILE',
        help='Python file with TABLES, BUDGETS or TASKS of your own; its tables are '
        'made where none is named',
    )
    budgets = '; '.join(f'{k}: {b.words}' for k, b in tables.BUDGETS.items())
    parser.add_argument('--budget', default='digitscenes_20e', help=budgets)
    words = 'comma-separated (default: 0,1,2)'
    parser.add_argument('--seeds', type=command.seed_list, default='0,1,2', help=words)
    parser.add_argument(
        '--out', type=Path, help='folder of the runs (work_dirs/ablate_BUDGET)'
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        '--jobs',
        type=command.whole_number(1),
        default=1,
        help='runs at once, for small ones on the CPU',
    )
    where.add_argument(
        '--devices',
        nargs='+',
        default=[],
        help='GPUs of each run at a time: "0 1" is two runs at once, "0,1" one run on '
        'two',
    )
    for name, form, words in (
        ('--cfg-options', 'KEY=VALUE', 'override settings of all configs'),
        (
            '--evaluate-options',
            'TASK.KEY=VALUE',
            '--cfg-options of tools/evaluate.py, which measures the large budgets',
        ),
    ):
        parser.add_argument(
            name, nargs='+', action='extend', default=[], metavar=form, help=words
        )
    parser.add_argument(
        '--dry-run', action='store_true', help='list the commands and do nothing'
    )
    return parser.parse_args(argv)


def choose_tables(args: argparse.Namespace) -> dict[str, tables.Table]:
    """Find the tables that are asked for.

    Args:
        args: The arguments.

    Returns:
        Name to table.

    Raises:
        ValueError: There is no such table or budget, or the user's file is wrong.
    """
    own = runs.add_tables(args.own_tables) if args.own_tables else []
    names = list(tables.TABLES) if 'all' in args.tables else args.tables or own
    if not names:
        raise ValueError(f'name a table: {", ".join([*tables.TABLES, "all"])}')
    for name, known, kind in (
        *((name, tables.TABLES, 'table') for name in names),
        (args.budget, tables.BUDGETS, 'budget'),
    ):
        if name not in known:
            near = command.nearest(name, known)
            meant = f'did you mean {near!r}? ' if near else ''
            raise ValueError(f'{name!r} is no {kind}; {meant}It is: {", ".join(known)}')
    return {name: tables.TABLES[name] for name in names}


def main(argv: list[str] | None = None) -> int:
    """Run the tool.

    Args:
        argv: Arguments of the command line; those of the process by default.

    Returns:
        Exit status: 0 if every run is done.
    """
    args = parse_args(argv)
    chosen = choose_tables(args)
    out = args.out or Path('work_dirs') / f'ablate_{args.budget}'
    out = out.expanduser().absolute()
    command.check_folder(out, '--out')
    if not args.dry_run:
        visible = os.environ.get('CUDA_VISIBLE_DEVICES')
        check_devices(args.devices, torch.cuda.device_count(), visible)
    study = runs.Study(
        args.budget,
        tables.BUDGETS[args.budget],
        out,
        TOOLS,
        args.seeds,
        args.cfg_options,
        args.evaluate_options,
        processes=args.devices[0].count(',') + 1 if args.devices else 1,
        own_tables=args.own_tables and args.own_tables.expanduser().absolute(),
    )
    jobs, notes = runs.plan_study(study, list(chosen.values()))
    if not args.dry_run:
        check_data(study, jobs)
    for note in notes:
        command.say(note)
    if args.dry_run:
        for words in (words for job in jobs for words in commands(job)):
            command.say(f'{BUDGET_VARIABLE}={args.budget} {shlex.join(words)}')
        return 0
    engine = runs.Engine(args.jobs, args.devices, installed_versions(), command.say)
    good = engine.run(jobs, lambda: write_tables(study, chosen, jobs))
    paths = [str(out / f'{name}.md') for name in chosen]
    command.say(f'Tables: {", ".join(paths)}')
    return 0 if good else 1


if __name__ == '__main__':
    # ended from outside, it ends what it has started
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(command.run(main))
