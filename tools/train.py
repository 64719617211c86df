"""Train with a config.

python tools/train.py dseq_vitb16_600e
python tools/train.py configs/dseq_vitb16_600e.py --data FOLDER_OF_IMAGES --amp
python tools/train.py mask-rcnn_vitb16_25e_coco --checkpoint dseq_vitb16.pth
"""

import argparse
import sys

from dseq_mm.cli import launch, own_data
from dseq_mm.cli.processes import leave_group, prepare_distributed
from dseq_mm.cli.resume import NEWEST, set_resume
from dseq_mm.transfer.checkpoint import install_safe_loader
from dseq_mm.transfer.start import is_transfer, start_backbone, start_resumed
from dseq_mm.utils import command


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program; those of the process by default.

    Returns:
        The arguments.
    """
    parser = command.Parser(description='Train with a config.')
    launch.add_common_arguments(parser)
    parser.add_argument(
        '--data',
        nargs='+',
        action='extend',
        metavar='PLACE',
        help="train on images without labels instead of the config's data set: all "
        'under a folder, those of a list (LIST.txt, one path per line) or of tar '
        "archives ('shards-{000..011}.tar'), or of several of these",
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        '--checkpoint',
        metavar='PATH',
        help='pre-training checkpoint or exported backbone to start from; of a '
        'pre-training config: both encoders, and the predictor if it is there',
    )
    start.add_argument(
        '--from-scratch', action='store_true', help='transfer from random weights'
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const=NEWEST,
        metavar='CHECKPOINT',
        help='continue a run, given again with its other arguments: from this '
        'checkpoint, or from the newest whole one in the work dir; "auto" starts anew '
        'if there is none',
    )
    parser.add_argument(
        '--insist',
        action='store_true',
        help='resume although data, seed or settings make it another experiment',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='mixed precision: bfloat16 (also on the CPU) with GuardedOptimWrapper, '
        "else mmengine's AmpOptimWrapper",
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by actual over intended batch size',
    )
    parser.add_argument(
        '--no-validate', action='store_true', help='train without evaluation'
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Train.

    Args:
        argv: Arguments without the program; those of the process by default.
    """
    args = parse_args(argv)
    cfg = launch.load_config(args)
    if args.data and is_transfer(cfg):
        raise ValueError(
            '--data takes images without labels, for pre-training; '
            f'{args.config} needs labels. Point it to its data by --cfg-options.'
        )
    notes = set_resume(cfg, args.resume, args.insist)
    if cfg.get('resume'):
        notes += start_resumed(cfg, args.checkpoint or args.from_scratch)
    else:
        notes += start_backbone(cfg, args.checkpoint, args.from_scratch)
    if args.data:
        notes += own_data.use_data(cfg, args.data)
    if args.no_validate:
        notes += launch.disable_validation(cfg)
    if args.amp:
        launch.set_amp(cfg)
    if args.auto_scale_lr:
        launch.set_auto_scale_lr(cfg)
    install_safe_loader()
    notes += prepare_distributed(cfg, args.launcher)
    launch.run(cfg, notes, 'train', args.cfg_options or (), args.verbose)
    leave_group()


if __name__ == '__main__':
    sys.exit(command.run(main))
