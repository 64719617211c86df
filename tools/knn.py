"""Measure a frozen backbone by kNN, with the KNNHook settings of its config."""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

from mmengine.device import get_device

from dseq_mm.cli import launch
from dseq_mm.cli.building import name_parts
from dseq_mm.cli.options import add_options_argument
from dseq_mm.cli.resume import check_file
from dseq_mm.evaluation.knn import (
    NO_LABELS,
    extract_config,
    hook_settings,
    knn_metrics,
)
from dseq_mm.evaluation.probe import linear_accuracy
from dseq_mm.transfer.checkpoint import install_safe_loader
from dseq_mm.utils import command
from dseq_mm.utils.configs import read_config
from dseq_mm.utils.files import write_json


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Args:
        argv: Arguments; those of the process by default.

    Returns:
        The options.
    """
    parser = command.Parser(description=__doc__)
    parser.add_argument('config', help='pre-training config with a KNNHook')
    parser.add_argument('checkpoint', nargs='?', help='checkpoint or exported backbone')
    parser.add_argument('--encoder', choices=('target', 'context'))
    parser.add_argument(
        '--init', action='store_true', help='measure the network before any training'
    )
    parser.add_argument(
        '--raw-pixels', action='store_true', help='take the pixels as features'
    )
    parser.add_argument('--seed', type=command.SEED, default=0, help='seed of --init')
    parser.add_argument(
        '--linear', action='store_true', help='add a quick linear probe (scikit-learn)'
    )
    parser.add_argument('--out', type=Path, help='also write the numbers as JSON')
    add_options_argument(parser)
    args = parser.parse_args(argv)
    if (args.checkpoint is not None) + args.init + args.raw_pixels != 1:
        parser.error('give one of: a checkpoint, --init, --raw-pixels')
    return args


def main(argv: list[str] | None = None) -> None:
    """Run the tool.

    Args:
        argv: Arguments of the command line; those of the process by default.
    """
    args = parse_arguments(argv)
    install_safe_loader()
    if args.out:
        command.check_output(args.out, '--out')
    if args.checkpoint:
        check_file(args.checkpoint)
    cfg = read_config(args.config)
    launch.change_config(cfg, args.cfg_options)
    settings = hook_settings(cfg)
    if args.linear and find_spec('sklearn') is None:
        raise ValueError('--linear needs scikit-learn: pip install scikit-learn')
    if args.linear and settings.get('query') is None:
        raise ValueError(NO_LABELS)
    options = {k: settings[k] for k in ('k', 'temperature') if k in settings}
    with name_parts(cfg):
        bank, queries = extract_config(
            cfg,
            args.checkpoint,
            args.encoder,
            args.seed,
            args.raw_pixels,
            labels=args.linear,
        )
    metrics = knn_metrics(bank, queries, device=get_device(), **options)
    if args.linear:
        for name in sorted(bank.keys() - {'labels'}):
            metrics[f'linear_{name}'] = linear_accuracy(
                bank[name], bank['labels'], queries[name], queries['labels']
            )
    for name, value in metrics.items():
        print(f'{name:16} {value:8.2f}')
    if args.out:
        write_json(args.out, metrics)


if __name__ == '__main__':
    sys.exit(command.run(main))
