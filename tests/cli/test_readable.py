"""What the terminal is not shown: of the hosts' lines a few, of ours nothing."""

import ast
import io
import logging
import warnings
from pathlib import Path

import pytest
from mmengine.runner import Runner
from torch import nn

import dseq_mm
from dseq_mm.cli import readable
from dseq_mm.cli.readable import (
    DETAILS,
    KNOWN_WARNINGS,
    TerminalFilter,
    TerminalFormatter,
)
from dseq_mm.utils import command

PACKAGE = Path(dseq_mm.__file__).parent
FIXED = 'neck.pos_embed is skipped since its requires_grad=False'
DRAW = 'The draw is False, it means that the hook for vis'
#: What mmengine logs, each the beginning that one row of the table is for.
HIDDEN = [
    '\n---\nSystem environment:\n    sys.platform: linux',
    'Config:\nmodel = dict()',
    'Hooks will be executed in the following order:\nbefore_run:',
    'paramwise_options -- backbone.ln1.bias:weight_decay=0.0',
    "initialize Linear with init_cfg {'type': 'Xavier'}",
    '\nweight - torch.Size([1, 1]): \nXavierInit \n ',
    'Distributed training is not used, all SyncBatchNorm (SyncBN) layers in the model',
    'Exp name: dseq_20261126_162506',
]


def is_shown(text, level):
    record = logging.LogRecord('mmengine', level, 'host.py', 1, text, (), None)
    return TerminalFilter().filter(record)


def test_each_row_of_the_table_hides_a_line():
    assert len(HIDDEN) == len(DETAILS)
    assert not any(is_shown(line, logging.INFO) for line in HIDDEN)


def test_warnings_and_errors_are_shown_unless_nobody_can_act_on_them():
    for line in HIDDEN:
        assert is_shown(line, logging.WARNING) and is_shown(line, logging.ERROR)
    assert not is_shown(FIXED, logging.WARNING)
    assert is_shown(FIXED, logging.ERROR)


@pytest.mark.parametrize(
    'line',
    [
        'Epoch(train) [1][6/6]  lr: 1.0e-03  eta: 0:00:28  loss: 0.4317',
        'Epoch(val) [1][1/1]    accuracy/top1: 10.0000',
        'Checkpoints will be saved to work_dirs/mine.',
        'Saving checkpoint at 1 epochs',
        'Load checkpoint from work_dirs/mine/epoch_1.pth',
        'resumed epoch: 1, iter: 6',
        'LR is set based on batch size of 256 and the current batch size is 64.',
    ],
)
def test_what_a_person_reads_is_shown(line):
    assert is_shown(line, logging.INFO)


def test_no_text_of_ours_is_in_the_tables():
    texts = [
        (path.name, node.value)
        for path in PACKAGE.rglob('*.py')
        if path.name != 'readable.py'
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8')))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert len(texts) > 1000
    for name, text in texts:
        for level in (logging.INFO, logging.WARNING):
            assert is_shown(text, level), (name, text)


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Builds a runner; what its terminal shows and what its log file holds."""

    def build(everything):
        terminal = io.StringIO()
        monkeypatch.setattr('sys.stdout', terminal)
        monkeypatch.setattr(  # pytest has its own, which collects them
            'warnings.showwarning',
            lambda *args: terminal.write(warnings.formatwarning(*args[:4])),
        )
        with warnings.catch_warnings():
            warnings.simplefilter('always')
            with readable.readable(everything):
                name = f'{tmp_path.name}_{everything}'
                runner = Runner(
                    nn.Linear(1, 1), str(tmp_path / name), experiment_name=name
                )
                runner.logger.warning(FIXED)
                runner.logger.warning('ours')
                warnings.warn(DRAW, stacklevel=1)
                warnings.warn('a library is unhappy', stacklevel=1)
        return runner, terminal, Path(runner.logger.log_file)

    return build


def test_the_file_holds_everything_and_the_terminal_what_is_read(build):
    _, terminal, log = build(False)
    shown, held = terminal.getvalue(), log.read_text()
    assert 'ours' in shown and 'UserWarning: a library is unhappy' in shown
    for text in ('System environment', 'Hooks will be', FIXED, DRAW):
        assert text not in shown and text in held
    assert 'ours' in held and 'UserWarning: a library is unhappy' in held


def test_everything_is_shown_on_demand(build):
    runner, terminal, _ = build(True)
    for text in ('System environment', 'Hooks will be', FIXED, DRAW):
        assert text in terminal.getvalue()


def test_afterwards_the_logger_is_as_it_was(build):
    runner, terminal, _ = build(False)
    assert warnings.showwarning.__module__ == __name__
    runner.logger.info('paramwise_options -- later')
    assert 'paramwise_options -- later' in terminal.getvalue()


def test_each_reason_is_given():
    assert all({**DETAILS, **KNOWN_WARNINGS}.values())


def test_the_summary_counts_parameters(build):
    runner, _, log = build(False)
    runner.model.bias.requires_grad = False
    assert readable.summary(runner) == [
        f'Log file: {log}',
        'Network: Linear, 2 parameters, 1 learned',
    ]


def test_lines_of_progress_leave_out_what_the_file_keeps():
    line = (
        'Epoch(train)   [3][ 6/62]  base_lr: 1.0e-03 lr: 9.0e-04  eta: 0:00:28  '
        'time: 0.2100  data_time: 0.0100  loss: 0.4317  loss_pred: 0.4300  '
        'target_std: 0.9000  flat_maps: 0.0000  regions_1: 0.5000  regions_2: 0.5000  '
        'grad_norm: 1.2000'
    )
    record = logging.LogRecord('mmengine', logging.INFO, 'h.py', 1, line, (), None)
    shown = TerminalFormatter(logging.Formatter('%(levelname)s %(message)s'))
    assert shown.format(record) == (
        'INFO Epoch(train)   [3][ 6/62]  lr: 9.0e-04  eta: 0:00:28  '
        'loss: 0.4317  loss_pred: 0.4300  target_std: 0.9000'
    )
    assert record.getMessage() == line  # the file's handler formats the same record
    other = logging.LogRecord('a', logging.INFO, 'h.py', 1, 'time: %s', (3,), None)
    assert shown.format(other) == 'INFO time: 3'


def test_what_a_host_imports_on_purpose_is_not_warned_of():
    def main(argv):
        warnings.warn('pkg_resources is deprecated as an API. See ...', stacklevel=1)
        warnings.warn('something else', stacklevel=1)

    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter('always')
        command.run(main, [])
    assert [str(warning.message) for warning in shown] == ['something else']
