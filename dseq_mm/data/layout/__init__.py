"""Verifies the folder of a data set before hours are spent: tools/check_data.py."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dseq_mm.data.layout import classification, dense
from dseq_mm.data.layout.published import DATA_SETS
from dseq_mm.data.layout.report import Report, brief

__all__ = ['DATA_SETS', 'check']

CHECKS = {
    'imagenet': classification.check_imagenet,
    'inat21': classification.check_inat21,
    'cub': classification.check_cub,
    'cars': classification.check_cars,
    'coco': dense.check_coco,
    'ade20k': dense.check_ade20k,
    'clevr': classification.check_clevr,
    'digitscenes': dense.check_digitscenes,
}


def check(
    name: str,
    root: str | Path | None = None,
    samples: int = 64,
    numbers: dict[str, int] | None = None,
    echo: Callable[[str], Any] = print,
) -> Report:
    """Check a data set with the readers that the configs use.

    Args:
        name: One of `DATA_SETS`.
        root: Its folder; by default where the configs look for it.
        samples: How many images of each split to decode, at least 1.
        numbers: Expected in place of the published numbers of the same names.
        echo: Called with each line as soon as it is known.

    Returns:
        The report; its `problems` are empty where nothing is wrong.
    """
    facts = DATA_SETS[name]
    facts = facts._replace(numbers={**facts.numbers, **(numbers or {})})
    report = Report(facts, root or facts.root, samples, echo)
    if report.root.is_dir():
        try:
            CHECKS[name](report)
        except Exception as error:  # a layout that nobody thought of
            report.problem(f'the check stopped: {brief(error)}')
    else:
        report.problem(f'{report.root} is no folder', f'get {facts.title}, see below')
        report.incomplete = True
    if report.incomplete:
        tree = facts.tree.replace(facts.root, str(report.root))
        echo(f'\nExpected for {facts.title}:\n{tree}\nFrom {facts.source}')
    return report
