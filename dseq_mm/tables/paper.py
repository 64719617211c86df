"""The paper's figures, to stand beside ours.

Everything here was measured by the authors of DSeq-JEPA (arXiv 2511.17354), or is what
they quote for other methods, on the real data sets. Nothing here was measured with this
package.
"""

SOURCE = 'He et al., DSeq-JEPA, arXiv 2511.17354, tables 1 to 3'
_NAMES = dict(
    IJEPA='I-JEPA',
    DSeqJEPA='DSeq-JEPA',
    CJEPA='C-JEPA',
    DSeqCJEPA='DSeq-C-JEPA',
    DMTJEPA='DMT-JEPA',
    MoCoV3='MoCo v3',
)  # class name to what it is called, where they differ

#: What the names of a method's configs begin with.
PREFIXES = dict(DSeqJEPA='dseq', IJEPA='ijepa', CJEPA='cjepa', DSeqCJEPA='dseqc')
_COLUMNS = 'epochs linear finetune inat21 cub cars box mask miou'.split()
_: None = None  # not in the paper
_TABLE = {
    ('MAE', 'vitb16'): (1600, 68.0, 83.6, 33.5, 59.8, 60.2, 50.3, 44.9, 48.1),
    ('IJEPA', 'vitb16'): (600, 72.4, 83.5, 35.9, 65.3, 65.9, 49.9, 44.5, 47.6),
    ('DSeqJEPA', 'vitb16'): (600, 73.5, 84.0, 36.4, 66.2, 67.3, 50.5, 45.0, 48.1),
    ('CJEPA', 'vitb16'): (600, 73.5, 84.2, 36.2, 64.9, 66.1, 50.7, 45.3, 48.7),
    ('DSeqCJEPA', 'vitb16'): (600, 73.8, 84.3, 36.6, 66.5, 67.4, 50.9, 45.7, 48.9),
    ('DINO', 'vitb16'): (1600, 78.2, 82.8, 30.2, 33.6, 27.0, 50.1, 43.4, 46.8),
    ('iBOT', 'vitb16'): (1600, 79.5, 84.0, 38.9, 67.7, 68.1, 51.2, 44.2, 50.0),
    ('NEPA', 'vitb14'): (1600, _, 83.8, _, _, _, _, _, 48.3),
    ('MAE', 'vitl16'): (1600, 76.0, 85.9, 37.1, 63.4, 61.9, _, _, _),
    ('IJEPA', 'vitl16'): (600, 77.1, 86.6, 38.8, 66.9, 68.1, _, _, _),
    ('DSeqJEPA', 'vitl16'): (600, 77.9, 86.8, 39.5, 68.1, 68.9, _, _, _),
    ('CJEPA', 'vitl16'): (600, 78.0, 86.9, 39.0, 65.8, 67.7, _, _, _),
    ('DSeqCJEPA', 'vitl16'): (600, 78.4, 87.2, 39.7, 68.3, 68.8, _, _, _),
    ('NEPA', 'vitl14'): (800, _, 85.3, _, _, _, _, _, _),
    ('IJEPA', 'vith16-448'): (300, 81.1, 87.1, _, _, _, _, _, _),
    ('DSeqJEPA', 'vith16-448'): (300, 82.4, 87.8, 39.3, 68.9, 70.1, _, _, _),
    ('MAE', 'vith14'): (1600, 77.2, _, _, _, _, _, _, _),
    ('LeJEPA', 'vith14'): (100, 79.0, _, _, _, _, _, _, _),
}
_CLEVR = {  # ViT-L/16: Clevr/Count, Clevr/Dist
    'IJEPA': (85.6, 71.2),
    'DSeqJEPA': (86.4, 71.5),
    'CJEPA': (86.8, 71.6),
    'DSeqCJEPA': (87.1, 71.9),
}


def name_of(method: str) -> str:
    """Write the name of a method as papers do.

    Args:
        method: Class name.

    Returns:
        The name in tables and notes.
    """
    return _NAMES.get(method, method)


def _figures():
    figures = {
        key: {k: v for k, v in zip(_COLUMNS, row, strict=True) if v is not None}
        for key, row in _TABLE.items()
    }
    for method, (count, distance) in _CLEVR.items():
        figures[method, 'vitl16'].update({'clevr-count': count, 'clevr-dist': distance})
    return figures


FIGURES: dict[tuple[str, str], dict[str, float]] = _figures()
"""The paper's figures: method and architecture to column to percent.

Methods go by their class names here and in mmpretrain (``DSeqJEPA``, ``MAE``),
architectures by the words in the names of configs (``vitb16``). Columns: ``linear`` and
``finetune`` (ImageNet), ``inat21``, ``cub``, ``cars``, ``box`` and ``mask`` (AP on
COCO), ``miou`` (ADE20K), ``clevr-count``, ``clevr-dist``; and ``epochs`` of the
pre-training.
"""

#: GFLOP per image of a pre-training step (ViT-B/16, 224 px), by method.
STEP_GFLOP = dict(DSeqJEPA=111.6, IJEPA=96.4)

#: Linear accuracy on ImageNet (ViT-B/16, 600 epochs) of each ablation, by its config.
ABLATIONS = {
    'uniform-sequential': 72.3,
    'discriminative-flat': 72.0,
    'order-random': 71.7,
    'order-spatial': 72.7,
    'order-inverse': 71.3,
    'order-truncating': 73.0,
    'regions-3': 72.9,
    'regions-7': 73.4,
    'class-token-ijepa': 72.4,
    'saliency-grad-cam': 73.4,
}
