import multiprocessing
import subprocess
import sys

import numpy as np
import pytest

from dseq_mm import compiled


def count(first, last, seen):
    seen[first:last] += 1


@pytest.mark.parametrize('threads', ['1', '2', '5', '100'])
@pytest.mark.parametrize('images', [0, 1, 17, 256])
def test_each_image_is_worked_on_once(monkeypatch, threads, images):
    monkeypatch.setenv('DSEQ_THREADS', threads)
    seen = np.zeros(images, dtype=int)
    compiled.each_image(count, images, seen)
    assert (seen == 1).all()


def test_an_error_in_a_thread_is_raised(monkeypatch):
    monkeypatch.setenv('DSEQ_THREADS', '2')

    def fail(first, last):
        raise ZeroDivisionError(f'{first} to {last}')

    with pytest.raises(ZeroDivisionError, match='0 to 20'):
        compiled.each_image(fail, 40)


def test_threads_share_the_cores_of_the_machine(monkeypatch):
    monkeypatch.delenv('DSEQ_THREADS', raising=False)
    monkeypatch.setattr(compiled, 'usable_cores', lambda: 32)
    assert compiled.threads_of_process() == 8
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '8')
    assert compiled.threads_of_process() == 4
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '64')
    assert compiled.threads_of_process() == 1


def work_in_child(queue):
    seen = np.zeros(64, dtype=int)
    compiled.each_image(count, 64, seen)
    queue.put(seen.min())


@pytest.mark.skipif(sys.platform == 'win32', reason='there is no fork')
def test_a_forked_process_has_threads_of_its_own(monkeypatch):
    monkeypatch.setenv('DSEQ_THREADS', '2')
    compiled.each_image(count, 64, np.zeros(64, dtype=int))  # the parent has some
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    child = context.Process(target=work_in_child, args=(queue,))
    child.start()
    try:
        assert queue.get(timeout=30) == 1
    finally:
        child.kill()


def test_without_numba_one_sentence_says_what_to_do():
    code = "import sys; sys.modules['numba'] = None; import dseq_mm.regions"
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert 'compiled by numba, which is not there: pip install numba' in done.stderr
