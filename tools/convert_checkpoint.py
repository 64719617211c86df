"""Write a checkpoint in another layout: of one encoder, or of a whole pre-training.

    python tools/convert_checkpoint.py IN-vit.h.14.pth.tar ijepa_vith14 --layout hf

What IN is, is told by its contents: a checkpoint or export of ours, a file of I-JEPA,
DSeq-JEPA, DINO, iBOT, MAE, DINOv2 or timm, or a folder that transformers has saved.
"""

import sys

from dseq_mm.cli.resume import check_file
from dseq_mm.evaluation.encoder_file import load_encoder
from dseq_mm.evaluation.graphs import GRAPHS, write_graph
from dseq_mm.transfer.convert import WHOLE, convert_whole
from dseq_mm.transfer.export import LAYOUTS, export_backbone, loading_snippet
from dseq_mm.utils import command


def main(argv: list[str] | None = None) -> None:
    """Run the tool.

    Args:
        argv: Arguments of the command line; those of the process by default.
    """
    parser = command.Parser(description=__doc__.split('\n')[0])
    parser.add_argument('checkpoint', metavar='IN', help='checkpoint, export or folder')
    parser.add_argument('out', metavar='OUT', help='file to write; of hf a folder')
    parser.add_argument(
        '--layout',
        choices=(*LAYOUTS, *WHOLE, *GRAPHS),
        required=True,
        help='of one encoder: mmpretrain (also mmdet, mmseg), timm, hf (transformers); '
        'of encoders and predictor: jepa (ours), ijepa; as a graph for any batch and '
        'image size: onnx (.onnx), torch (.pt2, torch.export)',
    )
    parser.add_argument('--encoder', choices=('target', 'context'), default='target')
    parser.add_argument(
        '--heads',
        type=command.whole_number(1),
        help='of onnx and torch, where the file does not tell them',
    )
    args = parser.parse_args(argv)
    check_file(args.checkpoint)
    command.check_output(args.out, 'OUT')
    if args.layout in WHOLE:
        print(f'{args.out}:')
        for line in convert_whole(args.checkpoint, args.out, args.layout):
            print(f'  {line}')
        return
    if args.layout in GRAPHS:
        encoder = load_encoder(args.checkpoint, args.encoder, args.heads)
        worst = write_graph(encoder, args.out, args.layout)
        print(
            f'{args.out}: images (RGB, 0.0 to 1.0) to tokens and pooled; at two sizes '
            f'within {worst:.1e} of the network'
        )
        return
    meta = export_backbone(args.checkpoint, args.out, args.encoder, args.layout)
    facts = ', '.join(f'{k} {v}' for k, v in meta['architecture'].items())
    print(f'{args.out}: {meta["encoder"]} encoder, names of {meta["layout"]}')
    print(f'  {facts}')
    print(f'To load it:\n\n{loading_snippet(args.out, meta)}')


if __name__ == '__main__':
    sys.exit(command.run(main))
