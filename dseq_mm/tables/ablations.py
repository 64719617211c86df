"""The ablations: which configs stand in which rows of which table."""

from .kinds import Budget, Contrast, Row, Table
from .paper import ABLATIONS, FIGURES, PREFIXES, name_of

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
            _ablation('inverted (ours)', 'saliency-inverted'),
            _ablation('distance from the mean patch (ours)', 'saliency-token-contrast'),
            _ablation('length of the token (ours)', 'saliency-token-norm'),
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
            Row('LeJEPA', 'projects/lejepa/configs/lejepa_{budget}.py'),
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
