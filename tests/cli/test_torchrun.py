"""The launcher of processes gives back their status, with no report of its own."""

from types import SimpleNamespace

import pytest
from torch.distributed import run
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from dseq_mm.cli import torchrun


@pytest.fixture(autouse=True)
def loud(monkeypatch):
    monkeypatch.setattr(torchrun.logging, 'disable', lambda level: None)


def failing(*statuses):
    failures = {
        rank: SimpleNamespace(
            exitcode=status, timestamp=rank, local_rank=rank, pid=1, error_file='',
            message='', timestamp_isoformat=lambda: '', global_rank=rank,
            error_file_data={}, signal_name=lambda: '',
        )
        for rank, status in enumerate(statuses)
    }  # fmt: skip

    def main(argv):
        raise ChildFailedError('train.py', failures)

    return main


@pytest.mark.parametrize(
    ('statuses', 'status', 'report'),
    [((2, -15), 2, 0), ((-15, 75), 75, 0), ((1, -15), 1, 1), ((-9,), 137, 1)],
)  # fmt: skip
def test_status(monkeypatch, capsys, statuses, status, report):
    monkeypatch.setattr(run, 'main', failing(*statuses))
    assert torchrun.main([]) == status
    assert bool(capsys.readouterr().err) == report


def test_all_is_well(monkeypatch):
    seen = []
    monkeypatch.setattr(run, 'main', seen.append)
    assert torchrun.main(['--nproc_per_node=2', 'x.py']) == 0
    assert seen == [['--nproc_per_node=2', 'x.py']]


@pytest.mark.parametrize(
    ('gpus', 'cores', 'most', 'there'),
    [
        (0, 8, 8, '0, that of cores 8'),
        (0, 1, 2, '0, that of cores 1'),
        (1, 8, 1, '1'),
        (8, 4, 8, '8'),
    ],
)
def test_more_processes_than_gpus_or_cores_are_refused(
    monkeypatch, capsys, gpus, cores, most, there
):
    """99 of them started, and fought for the one device."""
    seen = []
    monkeypatch.setattr(run, 'main', seen.append)
    monkeypatch.setattr(torchrun.torch.cuda, 'device_count', lambda: gpus)
    monkeypatch.setattr(torchrun.os, 'cpu_count', lambda: cores)
    assert torchrun.main([f'--nproc_per_node={most}', 'x.py']) == 0 and seen
    seen.clear()
    assert torchrun.main([f'--nproc_per_node={most + 1}', 'x.py']) == 2 and not seen
    said = capsys.readouterr().err
    assert f'GPUS is {most + 1}: the number of GPUs here is {there}\n' in said
    assert said.count('\n') == 1


def test_a_busy_port_is_named(monkeypatch, capsys):
    def busy(argv):
        raise RuntimeError('The server socket has failed (errno: 98 - EADDRINUSE)')

    monkeypatch.setattr(run, 'main', busy)
    assert torchrun.main(['--master_port=1234']) == 2
    said = capsys.readouterr().err
    assert 'port 1234' in said and 'PORT=1235' in said and said.count('\n') == 1


def test_other_errors_of_the_launcher_stay(monkeypatch):
    def broken(argv):
        raise RuntimeError('no route to the other machine')

    monkeypatch.setattr(run, 'main', broken)
    with pytest.raises(RuntimeError, match='no route'):
        torchrun.main([])
