"""Run the transfer protocols of a checkpoint and write one table of them.

python tools/evaluate.py CHECKPOINT --tasks knn,linear,coco,ade20k --gpus 8

A second call with the same arguments goes on where the first one stopped.
"""

import argparse
import shlex
import signal
import sys
from pathlib import Path

from dseq_mm import runs, tables
from dseq_mm.cli.resume import check_file
from dseq_mm.cli.torchrun import check_processes
from dseq_mm.runs.engine import commands
from dseq_mm.runs.tasks import check_names
from dseq_mm.runs.transfer_table import write_table
from dseq_mm.utils import command
from dseq_mm.utils.stack import installed_versions

TOOLS = Path(__file__).resolve().parent
ONE_OR_MORE = command.whole_number(1)


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
        'checkpoint', help='pre-training checkpoint or exported backbone'
    )
    known = ', '.join(tables.TASKS)
    parser.add_argument(
        '--tasks', required=True, help=f'comma-separated: {known}; or all'
    )
    parser.add_argument(
        '--tables', type=Path, metavar='FILE', help='Python file with your own TASKS'
    )
    parser.add_argument(
        '--out',
        type=Path,
        help='folder of table.md, table.json and the runs '
        '(work_dirs/evaluate_NAME_SHA256)',
    )
    parser.add_argument(
        '--seeds', type=command.seed_list, default='0', help='such as 0,1,2'
    )
    parser.add_argument(
        '--random-init',
        action='store_true',
        help='add the same networks from random weights, under the same budget',
    )
    parser.add_argument(
        '--gpus', type=ONE_OR_MORE, default=1, help='processes of each run'
    )
    parser.add_argument(
        '--jobs',
        type=ONE_OR_MORE,
        default=1,
        help='runs at once, for small ones on the CPU',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        default=[],
        metavar='TASK.KEY=VALUE',
        help='override settings of the config of one task',
    )
    parser.add_argument(
        '--dry-run', action='store_true', help='list the commands and do nothing'
    )
    args = parser.parse_args(argv)
    if args.gpus > 1 and args.jobs > 1:
        parser.error('only one of --gpus and --jobs is more than 1')
    return args


def main(argv: list[str] | None = None) -> int:
    """Run the tool.

    Args:
        argv: Arguments of the command line; those of the process by default.

    Returns:
        Exit status: 0 if every run is done.
    """
    args = parse_args(argv)
    check_file(args.checkpoint)
    if args.out:
        command.check_folder(args.out, '--out')
    if args.tables:
        runs.add_tables(args.tables)
    check_names(args.tasks)
    if not args.dry_run:
        check_processes(args.gpus, '--gpus')
    subject = runs.read_subject(args.checkpoint)
    name = f'evaluate_{subject.path.stem}_{subject.sha256[:8]}'
    out = (args.out or Path('work_dirs') / name).expanduser().absolute()
    command.check_folder(out, '--out')
    plan = runs.Plan(subject, out, TOOLS, args.seeds, args.random_init, args.gpus)
    jobs, notes = runs.plan_transfer(plan, args.tasks, args.cfg_options)
    for note in notes:
        command.say(note)
    if args.dry_run:
        for words in (words for job in jobs for words in commands(job)):
            command.say(shlex.join(words))
        return 0
    for task, protocol in {j.facts['task']: j.facts['protocol'] for j in jobs}.items():
        command.say(f'{task}: {protocol}')
    engine = runs.Engine(args.jobs, (), installed_versions(), command.say)
    good = engine.run(jobs, lambda: write_table(subject, out))
    command.say(f'Table: {out / "table.md"}')
    return 0 if good else 1


if __name__ == '__main__':
    # ended from outside, it ends what it has started
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(command.run(main))
