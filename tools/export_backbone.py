"""Write the backbone of a pre-training checkpoint as a file of its own."""

import sys

from dseq_mm.cli.resume import check_file
from dseq_mm.transfer.export import LAYOUTS, export_backbone, loading_snippet
from dseq_mm.utils import command


def main(argv: list[str] | None = None) -> None:
    """Run the tool.

    Args:
        argv: Arguments of the command line; those of the process by default.
    """
    parser = command.Parser(description=__doc__)
    parser.add_argument('checkpoint', help='pre-training checkpoint')
    parser.add_argument('out', help='file to write: .pth or .safetensors')
    parser.add_argument('--encoder', choices=('target', 'context'), default='target')
    parser.add_argument('--layout', choices=LAYOUTS, default='mmpretrain')
    args = parser.parse_args(argv)
    check_file(args.checkpoint)
    command.check_output(args.out, 'OUT')
    meta = export_backbone(args.checkpoint, args.out, args.encoder, args.layout)
    facts = ', '.join(f'{k} {v}' for k, v in meta['architecture'].items())
    print(f'{args.out}: {meta["encoder"]} encoder, names of {meta["layout"]}')
    print(f'  {facts}')
    print(f'  from {meta["source"]["name"]}, epoch {meta["source"]["epoch"]}')
    print(f'To load it:\n\n{loading_snippet(args.out, meta)}')


if __name__ == '__main__':
    sys.exit(command.run(main))
