"""Workers of data loaders outlive a signal to the whole job."""

import signal
import subprocess
import sys

import pytest
from torch.utils.data import DataLoader

from dseq_mm.engine.preemption import PreemptionHook, shield_workers


@pytest.mark.parametrize('name', ['TERM', 'USR1'])
def test_a_shielded_worker_goes_on(name):
    """The signal comes from outside: one of the parent's would end it in good order."""
    loader = DataLoader(list(range(6)), num_workers=1, persistent_workers=True)
    seen = []
    loader.worker_init_fn = seen.append  # what was set stays in use, in the worker
    shield_workers(loader)
    batches = iter(loader)
    assert next(batches).item() == 0
    (worker,) = batches._workers
    send = f'import os, signal; os.kill({worker.pid}, signal.SIG{name})'
    subprocess.run([sys.executable, '-c', send], check=True)
    assert [batch.item() for batch in batches] == [1, 2, 3, 4, 5]
    assert worker.is_alive()


def test_a_handler_that_python_did_not_set_becomes_the_default():
    hook, former = PreemptionHook(), signal.getsignal(signal.SIGUSR1)
    hook._before['SIGUSR1'] = None  # as `signal.signal` tells it
    try:
        hook.after_train(None)
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGUSR1, former)
