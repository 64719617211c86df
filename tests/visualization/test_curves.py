"""Curves show what the log holds."""

import json

import pytest

from dseq_mm.visualization import draw_curves, draw_step_losses, read_scalars


def write(folder, rows):
    folder.mkdir(parents=True)
    text = ''.join(json.dumps(row) + '\n' for row in rows)
    (folder / 'scalars.json').write_text(text + '{"loss": 0.')  # it was killed
    return folder


@pytest.fixture
def work_dir(tmp_path):
    first = [dict(loss=4.0 - i, rank_me=5.0, iter=i, epoch=1, step=i) for i in range(3)]
    write(
        tmp_path / 'w/20260101_000000/vis_data',
        [*first, dict(knn_last=30.0, rank_me=7.0, step=1)],
    )
    again = [dict(loss=1.5, iter=2, epoch=1, step=2), dict(loss=1.0, iter=3, step=3)]
    write(
        tmp_path / 'w/20260102_000000/vis_data', [*again, dict(knn_last=40.0, step=2)]
    )
    return tmp_path / 'w'


def test_a_resumed_training_is_one_curve(work_dir):
    found = read_scalars(work_dir)
    assert found['loss'].tolist() == [[0, 4.0], [1, 3.0], [2, 1.5], [3, 1.0]]
    assert sorted(abs(found['knn_last'][:, 0])) == [1, 2]
    assert found['rank_me'][:, 1].tolist() == [5.0] * 3
    assert found['rank_me (epochs)'].tolist() == [[-1, 7.0]]
    assert 'step' not in found and 'iter' not in found


def test_a_panel_for_each_kind_of_number(work_dir):
    figure = draw_curves({'a': read_scalars(work_dir), 'b': read_scalars(work_dir)})
    panels = {axis.get_title(): axis for axis in figure.axes if axis.get_title()}
    assert list(panels) == [
        'loss',
        'effective rank',
        'rank of the bank',
        'kNN accuracy',
    ]
    lines = panels['loss'].get_lines()
    assert [line.get_label() for line in lines] == ['a', 'b']
    assert lines[0].get_ydata().tolist() == [4.0, 3.0, 1.5, 1.0]
    assert lines[0].get_color() != lines[1].get_color()
    assert panels['kNN accuracy'].get_xlabel() == 'epoch'
    assert sorted(panels['kNN accuracy'].get_lines()[0].get_xdata()) == [1, 2]
    assert panels['loss'].get_xlabel() == 'iteration'


def test_refused(tmp_path):
    with pytest.raises(ValueError, match='no scalars.json'):
        read_scalars(tmp_path)
    with pytest.raises(ValueError, match='nothing that is drawn'):
        draw_curves({'a': {'foreign': None}})


def test_losses_of_steps():
    axis = draw_step_losses({'epoch_1': [4.0, 3.0], 'epoch_2': [2.0, 1.0]}).axes[0]
    first, second = axis.get_lines()
    assert first.get_label() == 'R2' and list(first.get_ydata()) == [4.0, 2.0]
    assert list(second.get_ydata()) == [3.0, 1.0]
