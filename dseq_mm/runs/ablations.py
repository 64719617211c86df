"""Named tables: which configs stand in which rows, and what the paper has there.

A config is named for every budget at once. ``{budget}`` stands for the budget's name
where it is part of the config's (``dseq_{budget}``); the files in ``configs/ablations``
read it from an environment variable.
"""

from dataclasses import dataclass

from .paper import ABLATIONS, FIGURES, PREFIXES, name_of

#: What a figure of the paper is, wherever one stands beside ours.
PAPER = 'ImageNet-1K linear accuracy, ViT-B/16, 600 epochs (MAE: 1,600)'


@dataclass(frozen=True)
class Row:
    """One line of a table: one config, or a reference that is not trained.

    Args:
        label: What it is called.
        config: Name of the config, see the head of this file; or a path in a clone.
        paper: The paper's figure, see :data:`PAPER`; None if it has none.
        start: ``'train'``, ``'init'`` (the network before any training) or ``'pixels'``
            (raw pixels as features).
    """

    label: str
    config: str
    paper: float | None = None
    start: str = 'train'

    @property
    def name(self) -> str:
        """What its folder is called: the same in every table and budget."""
        name = self.config.rpartition('/')[2].removesuffix('.py')
        name = name.replace('_{budget}', '')
        return name if self.start == 'train' else f'{name}_{self.start}'


@dataclass(frozen=True)
class Contrast:
    """A difference between rows that something is claimed about.

    Args:
        label: What it is called.
        plus: Rows that are added.
        minus: Rows that are subtracted, as many.
    """

    label: str
    plus: tuple[Row, ...]
    minus: tuple[Row, ...]

    @property
    def paper(self) -> float | None:
        """The same difference of the paper's figures, None if one is missing."""
        figures = [row.paper for row in self.plus + self.minus]
        if None in figures:
            return None
        return sum(r.paper for r in self.plus) - sum(r.paper for r in self.minus)


@dataclass(frozen=True)
class Table:
    """Rows, and the differences between them that are reported.

    Args:
        title: What is compared.
        rows: The rows.
        differences: By default of the first row to each other trained one.
        more: Further differences.
        paper: What the figures of the rows are.
    """

    title: str
    rows: tuple[Row, ...]
    differences: tuple[Contrast, ...] = ()
    more: tuple[Contrast, ...] = ()
    paper: str = PAPER

    def contrasts(self) -> tuple[Contrast, ...]:
        """The differences to be reported.

        Returns:
            Contrasts of this table's rows.
        """
        first, *others = [row for row in self.rows if row.start == 'train']
        each = tuple(
            Contrast(f'{first.label} - {row.label}', (first,), (row,)) for row in others
        )
        return (self.differences or each) + self.more


@dataclass(frozen=True)
class Budget:
    """How much is spent on a run, and how it is measured.

    Args:
        words: What it is.
        tasks: Tasks of ``tools/evaluate.py``; empty for ``tools/knn.py --linear``.
        arch: Key of :data:`~dseq_mm.transfer.contents.ARCHITECTURES`.
    """

    words: str
    tasks: str = ''
    arch: str = 'digits'


BUDGETS = dict(
    digitscenes_20e=Budget('DigitScenes, a small ViT, 20 epochs, minutes on a CPU'),
    vits16_100e=Budget('ImageNet-1K, ViT-S/16, 100 epochs', 'knn,linear', 'vits16'),
    vitb16_600e=Budget(
        'ImageNet-1K, ViT-B/16, 600 epochs: the paper', 'knn,linear', 'vitb16'
    ),
)


def _ablation(label: str, name: str) -> Row:
    return Row(label, f'ablations/{name}', ABLATIONS.get(name))


def _method(name: str, label: str = '', start: str = 'train') -> Row:
    config = f'{PREFIXES[name]}_{{budget}}'
    figure = FIGURES[name, 'vitb16']['linear'] if start == 'train' else None
    return Row(label or name_of(name), config, figure, start)


DSEQ, IJEPA = _method('DSeqJEPA'), _method('IJEPA')
_CJEPA, _DSEQC = _method('CJEPA'), _method('DSeqCJEPA')
_UNIFORM_FLAT = _method('IJEPA', 'uniform, flat (I-JEPA)')
_DISJOINT = _ablation('uniform, flat, disjoint blocks', 'uniform-flat-disjoint')
_UNIFORM_SEQUENTIAL = _ablation('uniform, sequential', 'uniform-sequential')
_FLAT = _ablation('discriminative, flat', 'discriminative-flat')
_BOTH = _method('DSeqJEPA', 'discriminative, sequential (DSeq-JEPA)')
_DMT = Row('DMT-JEPA', 'projects/dmt_jepa/configs/dmt_{budget}.py')

TABLES = {
    'regions': Table(
        'Regions by order of prediction (Table 4)',
        (_UNIFORM_FLAT, _DISJOINT, _UNIFORM_SEQUENTIAL, _FLAT, _BOTH),
        (
            Contrast('sequential - flat, discriminative', (_BOTH,), (_FLAT,)),
            Contrast(
                'sequential - flat, uniform', (_UNIFORM_SEQUENTIAL,), (_UNIFORM_FLAT,)
            ),
            Contrast(
                'sequential - flat, uniform disjoint',
                (_UNIFORM_SEQUENTIAL,),
                (_DISJOINT,),
            ),
            Contrast(
                'interaction: the first of these minus the second',
                (_BOTH, _UNIFORM_FLAT),
                (_FLAT, _UNIFORM_SEQUENTIAL),
            ),
            Contrast(
                'interaction, disjoint: the first minus the third',
                (_BOTH, _DISJOINT),
                (_FLAT, _UNIFORM_SEQUENTIAL),
            ),
            Contrast('discriminative - uniform, flat', (_FLAT,), (_UNIFORM_FLAT,)),
            Contrast('discriminative - uniform disjoint, flat', (_FLAT,), (_DISJOINT,)),
            Contrast(
                'discriminative - uniform, sequential',
                (_BOTH,),
                (_UNIFORM_SEQUENTIAL,),
            ),
            Contrast('DSeq-JEPA - I-JEPA', (_BOTH,), (_UNIFORM_FLAT,)),
        ),
    ),
    'order': Table(
        'Order of prediction over the same regions (Table 5)',
        (
            DSEQ,
            _ablation('flat', 'discriminative-flat'),
            _ablation('random', 'order-random'),
            _ablation('spatial', 'order-spatial'),
            _ablation('inverse', 'order-inverse'),
            _ablation('truncating to Top-3', 'order-truncating'),
        ),
    ),
    'num-regions': Table(
        'Number of regions',
        (
            _method('DSeqJEPA', 'N = 5 (DSeq-JEPA)'),
            _ablation('N = 3', 'regions-3'),
            _ablation('N = 7', 'regions-7'),
        ),
    ),
    'class-token': Table(
        'Class token on I-JEPA',
        (
            IJEPA,
            _ablation('I-JEPA with a class token', 'class-token-ijepa'),
        ),
    ),
    'saliency': Table(
        'Saliency proxies',
        (
            _method('DSeqJEPA', 'class token (DSeq-JEPA)'),
            _ablation('Grad-CAM', 'saliency-grad-cam'),
            _ablation('attention of the class token', 'saliency-attention'),
            _ablation('class-token parameter (released code)', 'saliency-parameter'),
        ),
    ),
    'curriculum': Table(
        'What one draw of the curriculum decides',
        (
            Row('a sample (DSeq-JEPA)', DSEQ.config),
            _ablation('a region (Algorithm 1)', 'curriculum-region'),
            _ablation('a batch (released code)', 'curriculum-batch'),
            _ablation('no curriculum', 'curriculum-none'),
        ),
    ),
    'selection': Table(
        'Splitting of large components, second search',
        (
            Row('both (DSeq-JEPA)', DSEQ.config),
            _ablation('no splitting', 'split-off'),
            _ablation("neither (the paper's rule)", 'split-secondary-off'),
        ),
    ),
    'passes': Table(
        'One pass or one per step',
        (
            Row('one pass (DSeq-JEPA)', DSEQ.config),
            _ablation('unrolled', 'unrolled'),
        ),
    ),
    'vicreg': Table(
        "What VICReg's invariance compares in C-JEPA",
        (
            _method('CJEPA', 'prediction and target (C-JEPA)'),
            _ablation('pairs of predicted blocks (Algorithm 1)', 'vicreg-blocks'),
            _method('IJEPA', 'none (I-JEPA)'),
        ),
    ),
    'methods': Table(
        'The family, and what MMPretrain has',
        (
            DSEQ,
            IJEPA,
            _CJEPA,
            _DSEQC,
            _DMT,
            _ablation('DSeq-JEPA with SIGReg', 'sigreg'),
            Row('NEPA', 'nepa_{budget}'),
            Row('MAE', 'baselines/mae_{budget}', FIGURES['MAE', 'vitb16']['linear']),
            Row('MoCo v3', 'baselines/mocov3_{budget}'),
            _method('DSeqJEPA', 'DSeq-JEPA network at initialization', 'init'),
            _method('IJEPA', 'I-JEPA network at initialization', 'init'),
            _method('DSeqJEPA', 'raw pixels', 'pixels'),
        ),
        more=(
            Contrast('C-JEPA - I-JEPA', (_CJEPA,), (IJEPA,)),
            Contrast('DSeq-C-JEPA - C-JEPA', (_DSEQC,), (_CJEPA,)),
            Contrast('DMT-JEPA - I-JEPA', (_DMT,), (IJEPA,)),
        ),
    ),
}
"""Name of each table to the table."""
