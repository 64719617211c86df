"""What tables are made of: ours, and those of users.

A config is named for every budget at once. ``{budget}`` stands for the budget's name
where it is part of the config's (``dseq_{budget}``); the files in ``configs/ablations``
read it from an environment variable. ``{arch}`` stands for the architecture.
"""

from dataclasses import dataclass

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

    Raises:
        ValueError: ``start`` is another.
    """

    label: str
    config: str
    paper: float | None = None
    start: str = 'train'

    def __post_init__(self) -> None:
        if self.start not in ('train', 'init', 'pixels'):
            raise ValueError(
                f"the row {self.label!r} has start={self.start!r}: give 'train', "
                "'init' or 'pixels'"
            )

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
        plus = [row.paper for row in self.plus if row.paper is not None]
        minus = [row.paper for row in self.minus if row.paper is not None]
        if len(plus + minus) < len(self.plus + self.minus):
            return None
        return sum(plus) - sum(minus)


@dataclass(frozen=True)
class Table:
    """Rows, and the differences between them that are reported.

    Args:
        title: What is compared.
        rows: The rows.
        differences: By default of the first row to each other trained one.
        more: Further differences.
        paper: What the figures of the rows are.

    Raises:
        ValueError: Two rows have one label, or a difference is of rows that the table
            does not have.
    """

    title: str
    rows: tuple[Row, ...]
    differences: tuple[Contrast, ...] = ()
    more: tuple[Contrast, ...] = ()
    paper: str = PAPER

    def __post_init__(self) -> None:
        labels = [row.label for row in self.rows]
        if len({*labels}) < len(labels):
            raise ValueError(f'{self.title!r} has two rows of one label: {labels}')
        for contrast in self.differences + self.more:
            for row in contrast.plus + contrast.minus:
                if row.label not in labels:
                    raise ValueError(
                        f'{self.title!r} has no row {row.label!r}, of which the '
                        f'difference {contrast.label!r} is'
                    )

    def contrasts(self) -> tuple[Contrast, ...]:
        """List the differences to be reported.

        Returns:
            Contrasts of this table's rows.
        """
        trained = [row for row in self.rows if row.start == 'train']
        each = tuple(
            Contrast(f'{trained[0].label} - {row.label}', (trained[0],), (row,))
            for row in trained[1:]
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


@dataclass(frozen=True)
class Metric:
    """A number that a task gives.

    Args:
        key: Its name in the metrics file of the tool.
        name: Its name in the table.
        paper: Column of :data:`.paper.FIGURES`, None if the paper has none.
        scale: What it is multiplied by, so that it is in percent.
    """

    key: str
    name: str
    paper: str | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class Task:
    """A row of the table.

    Args:
        name: What the user calls it.
        dataset: Name of the data set.
        metrics: What is reported.
        config: Name of the config, ``{arch}`` for the architecture; or the path of one.
        features: What the head sees, for the description of the protocol.
        check: What tools/check_data.py calls the data, empty if it does not know them.
        twin: Name of the DigitScenes config, None if there is none.
    """

    name: str
    dataset: str
    metrics: tuple[Metric, ...]
    config: str = ''
    features: str = 'features as in the config'
    check: str = ''
    twin: str | None = None
