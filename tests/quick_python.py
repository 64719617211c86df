"""A Python that starts at once: its processes are forked where libraries are loaded.

Each start of the real one imports PyTorch and its like for ten seconds. Here, a server
has done that before anything of MMPretrain, MMDetection, MMSegmentation or this package
was imported, and so before anything was registered; each program is a fork of it.
:data:`EXECUTABLE` takes what the tests ask of ``python``: a script, ``-c`` or ``-m``.
"""

import atexit
import ctypes
import faulthandler
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path

LOADED = (
    'cv2',
    'matplotlib.pyplot',
    'mmcv.ops',
    'mmcv.transforms',
    'mmengine.runner',
    'mmengine.visualization',
    'scipy.optimize',
    'scipy.stats',
    'sklearn.gaussian_process',
    'torch._dynamo',
    'torchvision.models',
)
"""Libraries in which none of ours registers anything by being imported."""

FORBIDDEN = {'dseq_mm', 'mmdet', 'mmpretrain', 'mmseg', 'projects'}

# Stands for the program: hands its streams and signals over, ends as it ends.
CLIENT = """\
#!{python} -SE
import json, os, signal, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
told = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [len(told).to_bytes(8, 'big')], [0, 1, 2])
server.sendall(told)
answers = server.makefile()
pid = int(answers.readline())
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
    signal.signal(number, lambda number, frame: os.kill(pid, number))
status = int(answers.readline())
if status < 0:
    if -status not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""

EXECUTABLE = sys.executable
"""Path of the program, once :func:`serve` was called."""


def serve() -> None:
    """Load the libraries and start the server; it ends with this process."""
    global EXECUTABLE
    for name in LOADED:
        try:
            importlib.import_module(name)
        except ImportError:
            if name != 'mmcv.ops':  # not compiled everywhere
                raise
    assert not FORBIDDEN & sys.modules.keys()
    folder = Path(tempfile.mkdtemp(prefix='quick'))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / 'socket'))
    listener.listen(64)
    program = folder / 'python'
    program.write_text(
        CLIENT.format(python=sys.executable, address=str(folder / 'socket'))
    )
    program.chmod(0o755)
    EXECUTABLE = str(program)
    ours, alive = os.pipe()
    if os.fork() == 0:
        try:
            _accept(listener, ours, folder)
        finally:
            os._exit(1)
    os.close(ours)
    listener.close()
    del alive  # open for as long as this process lives


def _accept(listener: socket.socket, owner: int, folder: Path) -> None:
    """Fork for each client until the process of the tests has gone."""
    _forget_pytest((listener.fileno(), owner))
    while True:
        ready, _, _ = select.select([listener, owner], [], [])
        if owner in ready:
            shutil.rmtree(folder)
            os._exit(0)
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            os.close(owner)
            _answer(connection)
        connection.close()


def _forget_pytest(kept: tuple[int, int]) -> None:
    """Be as a new Python: no open files, hooks and paths of the process before."""
    faulthandler.disable()
    atexit._clear()
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    for name in os.listdir('/proc/self/fd'):
        if int(name) > 2 and int(name) not in kept:
            try:
                os.close(int(name))
            except OSError:
                pass  # the one that listed them
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()  # Ctrl-C ends the process of the tests, and we end with it
    gc.freeze()
    sys.meta_path[:] = [
        finder for finder in sys.meta_path if 'pytest' not in type(finder).__module__
    ]
    installed = (sys.prefix, sys.base_prefix)
    sys.path[:] = [path for path in sys.path if path.startswith(installed)]
    sys.executable = EXECUTABLE


def _answer(connection: socket.socket) -> None:
    """Run a client's program in one more fork; tell its number and its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, streams, _, _ = socket.recv_fds(connection, 8, 3)
    file = connection.makefile('rb')
    arguments, cwd, environment = json.loads(file.read(int.from_bytes(size, 'big')))
    pid = os.fork()
    if pid == 0:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        file.close()
        connection.close()
        _run(arguments, cwd, environment)
    for stream in streams:
        os.close(stream)
    connection.sendall(f'{pid}\n'.encode())
    ended = os.pidfd_open(pid)
    ready, _, _ = select.select([ended, connection], [], [])
    if ended not in ready:  # the client was killed
        os.kill(pid, signal.SIGKILL)
        os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    connection.sendall(f'{status}\n'.encode())
    os._exit(0)


def _run(arguments: list[str], cwd: str, environment: dict[str, str]) -> None:
    """Be ``python`` with these arguments, to its end."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.stdin, sys.stdout = open(0), open(1, 'w')
    sys.stderr = open(2, 'w', buffering=1, errors='backslashreplace')
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
    paths = environment.get('PYTHONPATH', '').split(os.pathsep)
    sys.path[:0] = [path for path in paths if path]
    status = 0
    try:
        _execute(arguments)
    except SystemExit as end:
        status = end.code
        if not isinstance(status, int | None):
            print(status, file=sys.stderr)
            status = 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    ctypes.pythonapi.Py_Exit(status or 0)  # with all that Python does at its end


def _execute(arguments: list[str]) -> None:
    """Run a script, a module or a text as ``__main__``."""
    while arguments[0] == '-u':
        del arguments[0]
    kind, rest = arguments[0], arguments[1:]
    if kind == '-m':
        sys.argv = rest
        sys.path.insert(0, os.getcwd())
        runpy.run_module(rest[0], run_name='__main__', alter_sys=True)
    elif kind == '-c':
        sys.argv = ['-c', *rest[1:]]
        sys.path.insert(0, '')
        exec(compile(rest[0], '<string>', 'exec'), {'__name__': '__main__'})
    else:
        sys.argv = arguments
        sys.path.insert(0, os.path.dirname(os.path.realpath(kind)))
        runpy.run_path(kind, run_name='__main__')
