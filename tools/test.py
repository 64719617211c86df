"""Evaluate a checkpoint: the test loop of a config, or kNN for a pre-training config.

python tools/test.py dseq_vitb16_600e work_dirs/dseq_vitb16_600e/epoch_600.pth
"""

import argparse

from dseq_mm.transfer.checkpoint import install_safe_loader
from dseq_mm.utils import launch


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program; those of the process by default.

    Returns:
        The arguments.
    """
    parser = argparse.ArgumentParser(description='Evaluate a checkpoint.')
    launch.add_common_arguments(parser)
    parser.add_argument('checkpoint', help='path of a checkpoint')
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
    launch.check_file(args.checkpoint)
    install_safe_loader()
    launch.prepare_distributed(cfg, args.launcher)
    if cfg.get('test_dataloader') is not None:
        cfg.load_from, cfg.resume = args.checkpoint, False
        launch.run(cfg, [], 'test')
    elif launch.has_hook(cfg, 'KNNHook'):
        launch.run_knn(cfg, args.checkpoint)
    else:
        raise ValueError(
            f'{args.config} has neither a test_dataloader nor a KNNHook in '
            'custom_hooks: nothing says how to evaluate it. Add one of them.'
        )


if __name__ == '__main__':
    main()
