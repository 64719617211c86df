"""Evaluate a checkpoint: the test loop of a config, or kNN for a pre-training config.

python tools/test.py dseq_vitb16_600e work_dirs/dseq_vitb16_600e/epoch_600.pth
python tools/test.py CONFIG CHECKPOINT --out metrics.json --show-dir FOLDER
"""

import argparse
import sys

from dseq_mm.cli import launch
from dseq_mm.cli.pictures import draw_predictions
from dseq_mm.cli.processes import leave_group, prepare_distributed
from dseq_mm.cli.resume import check_file
from dseq_mm.transfer.checkpoint import install_safe_loader
from dseq_mm.transfer.start import fit_to_trained
from dseq_mm.utils import command
from dseq_mm.utils.metrics import write_metrics


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program; those of the process by default.

    Returns:
        The arguments.
    """
    parser = command.Parser(description='Evaluate a checkpoint.')
    launch.add_common_arguments(parser)
    parser.add_argument('checkpoint', help='path of a checkpoint')
    parser.add_argument('--out', metavar='FILE', help='write the metrics there as JSON')
    parser.add_argument(
        '--show-dir', metavar='FOLDER', help='draw the predictions into this folder'
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Evaluate.

    Args:
        argv: Arguments without the program; those of the process by default.

    Raises:
        ValueError: If the config says of no evaluation.
    """
    args = parse_args(argv)
    cfg = launch.load_config(args)
    check_file(args.checkpoint)
    if args.out:
        command.check_output(args.out, '--out')
    notes = fit_to_trained(cfg, args.checkpoint)
    if args.show_dir:
        command.check_folder(args.show_dir, '--show-dir')
        notes += draw_predictions(cfg, args.show_dir)
    install_safe_loader()
    notes += prepare_distributed(cfg, args.launcher)
    if cfg.get('test_dataloader') is not None:
        cfg.load_from, cfg.resume = args.checkpoint, False
        metrics = launch.run(cfg, notes, 'test', verbose=args.verbose)
        if args.out:
            write_metrics(metrics, args.out)
    elif launch.has_hook(cfg, 'KNNHook'):
        launch.run_knn(cfg, args.checkpoint, args.out)
    else:
        raise ValueError(
            f'{args.config} has neither a test_dataloader nor a KNNHook in '
            'custom_hooks: nothing says how to evaluate it. Add one of them.'
        )
    leave_group()


if __name__ == '__main__':
    sys.exit(command.run(main))
