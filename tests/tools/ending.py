"""What happens to the runs of a tool that is ended from outside."""

import os
import shutil
import subprocess
import time

from tests.end_to_end.runs import TOOLS
from tests.quick_python import EXECUTABLE

SLEEPER = """
import os, pathlib, time
pathlib.Path({place!r}, 'started').write_text(str(os.getpid()))
time.sleep(100)
"""


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def end_from_outside(place, name, *arguments):
    """Start a tool whose trainings sleep; end it when one has started.

    Its training must end with it, and its status say that it was ended.
    """
    (place / 'tools').mkdir()
    shutil.copy(TOOLS / f'{name}.py', place / 'tools')
    (place / 'tools' / 'train.py').write_text(SLEEPER.format(place=str(place)))
    started = place / 'started'
    tool = subprocess.Popen(
        [EXECUTABLE, f'tools/{name}.py', *arguments],
        cwd=place,
        env=os.environ | dict(PYTHONPATH=str(TOOLS.parent)),
    )
    try:
        for _ in range(600):
            if started.exists() and started.read_text():
                break
            time.sleep(0.1)
        pid = int(started.read_text())
        assert is_alive(pid)
        tool.terminate()
        assert tool.wait(60) == 143
        assert not is_alive(pid)
    finally:
        tool.kill()
