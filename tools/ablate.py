"""Run named tables of ablations with several seeds and write them beside the paper's.

python tools/ablate.py regions order --budget digitscenes_20e --seeds 0,1,2 --jobs 2
python tools/ablate.py all --budget vits16_100e --devices 0 1 2 3

A second call with the same arguments goes on where the first one stopped.
"""

import argparse
import os
import shlex
import signal
import sys
from pathlib import Path

import torch

from dseq_mm.evaluation import ablation
from dseq_mm.evaluation.launcher import parse_seeds, say
from dseq_mm.evaluation.suite import installed_versions
from dseq_mm.utils import command
from dseq_mm.utils.configs import BUDGET_VARIABLE

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
    known = [*ablation.TABLES, 'all']
    parser.add_argument(
        'tables', nargs='+', choices=known, metavar='TABLE', help=', '.join(known)
    )
    budgets = '; '.join(f'{k}: {b.words}' for k, b in ablation.BUDGETS.items())
    parser.add_argument(
        '--budget', choices=ablation.BUDGETS, default='digitscenes_20e', help=budgets
    )
    parser.add_argument(
        '--seeds', type=parse_seeds, default='0,1,2', help='comma-separated'
    )
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
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        default=[],
        metavar='KEY=VALUE',
        help='override settings of all configs',
    )
    parser.add_argument(
        '--evaluate-options',
        nargs='+',
        action='extend',
        default=[],
        metavar='TASK.KEY=VALUE',
        help='--cfg-options of tools/evaluate.py, which measures the large budgets',
    )
    parser.add_argument(
        '--dry-run', action='store_true', help='list the commands and do nothing'
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the tool.

    Args:
        argv: Arguments of the command line; those of the process by default.

    Returns:
        Exit status: 0 if every run is done.
    """
    args = parse_args(argv)
    names = list(ablation.TABLES) if 'all' in args.tables else args.tables
    tables = {name: ablation.TABLES[name] for name in names}
    out = args.out or Path('work_dirs') / f'ablate_{args.budget}'
    out = out.expanduser().absolute()
    processes = args.devices[0].count(',') + 1 if args.devices else 1
    command.check_folder(out, '--out')
    if not args.dry_run:
        visible = os.environ.get('CUDA_VISIBLE_DEVICES')
        ablation.check_devices(args.devices, torch.cuda.device_count(), visible)
    trials, notes = ablation.plan_trials(
        tables.values(),
        args.budget,
        args.seeds,
        out,
        args.cfg_options,
        args.evaluate_options,
        processes,
    )
    if not args.dry_run:
        ablation.check_data(trials)
    for note in notes:
        say(note)
    study = ablation.Study(TOOLS, args.jobs, args.devices)
    if args.dry_run:
        for trial in trials:
            for words in study.commands(trial):
                say(f'{BUDGET_VARIABLE}={args.budget} {shlex.join(words)}')
        return 0
    good = study.carry_out(
        trials,
        installed_versions(),
        say,
        lambda: ablation.write_tables(tables, args.budget, trials, out),
    )
    say(f'Tables: {", ".join(str(out / f"{name}.md") for name in names)}')
    return 0 if good else 1


if __name__ == '__main__':
    # ended from outside, it ends what it has started
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(command.run(main))
