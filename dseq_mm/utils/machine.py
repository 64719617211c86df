"""What the machine is, apart from packages.

Nothing is imported at the head but Python's own modules: the doctor uses it.
"""

import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path


def usable_cores() -> int:
    """Count the cores that this process may use.

    Returns:
        Their number; that of all cores where the system does not tell (macOS, Windows).
    """
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine_facts() -> dict[str, str]:
    """Describe what the machine has.

    Returns:
        What was looked for, and what was found of it.
    """
    compiler = os.environ.get('CXX') or 'g++'
    return {
        'python': f'{platform.python_version()} ({sys.executable})',
        'system': f'{platform.system()} {platform.machine()}',
        'cores': str(usable_cores()),
        'GPU': gpu_text(),
        'processes': process_text(),
        'decoders': decoder_text(),
        'free space': space_text(),
        'compiler': shutil.which(compiler) or f'none ({compiler} not found)',
        'nvcc': shutil.which('nvcc') or 'none',
    }


def gpu_text() -> str:
    """Describe the GPUs that PyTorch sees.

    Returns:
        Names with their memory, or why there is none.
    """
    try:
        import torch

        if not torch.cuda.is_available():
            return f'none ({_why_no_gpu(torch)})'
        found = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
        return ', '.join(
            f'{gpu.name}, {gpu.total_memory >> 30} GB, compute {gpu.major}.{gpu.minor}'
            for gpu in found
        )
    except Exception as error:  # whatever a broken PyTorch raises
        return f'unknown ({type(error).__name__})'


def _why_no_gpu(torch) -> str:
    """Say why PyTorch sees no GPU."""
    if torch.version.cuda is None:
        return 'PyTorch was built without CUDA'
    hidden = os.environ.get('CUDA_VISIBLE_DEVICES')
    if hidden is not None and hidden.strip() in ('', '-1'):
        return 'CUDA_VISIBLE_DEVICES hides all'
    if shutil.which('nvidia-smi') is None:
        return f'no NVIDIA driver; PyTorch was built for CUDA {torch.version.cuda}'
    return f'the driver does not serve PyTorch, built for CUDA {torch.version.cuda}'


def process_text() -> str:
    """Describe what several processes can talk to each other by.

    Returns:
        The backends of ``torch.distributed``.
    """
    try:
        import torch
        import torch.distributed as distributed

        if not distributed.is_available():
            return 'one only: PyTorch was built without torch.distributed'
        found = []
        if distributed.is_nccl_available():
            version = '.'.join(map(str, torch.cuda.nccl.version()))
            found.append(f'NCCL {version} (GPUs)')
        if distributed.is_gloo_available():
            found.append('Gloo (CPUs)')
        return ', '.join(found) or 'no backend'
    except Exception as error:  # whatever a broken PyTorch raises
        return f'unknown ({type(error).__name__})'


def decoder_text() -> str:
    """Describe the libraries that images are decoded with.

    Returns:
        Names, versions and formats.
    """
    return '; '.join(filter(None, [_opencv_text(), _pillow_text()])) or 'none'


def _opencv_text() -> str:
    try:
        import cv2

        lines = cv2.getBuildInformation().splitlines()
    except Exception:  # it is among the packages, with what is wrong
        return ''
    wanted = ('JPEG', 'PNG', 'TIFF', 'WEBP')
    pairs = (line.partition(':')[::2] for line in lines)
    has = [n.strip() for n, what in pairs if n.strip() in wanted and ' NO' not in what]
    return f'OpenCV {cv2.__version__} ({", ".join(sorted(set(has)))})'


def _pillow_text() -> str:
    try:
        import PIL
        from PIL import features

        kinds = dict(JPEG='jpg', PNG='zlib', TIFF='libtiff', WEBP='webp')
        has = [name for name, feature in kinds.items() if features.check(feature)]
        return f'Pillow {PIL.__version__} ({", ".join(has)})'
    except Exception:  # it comes with torchvision; without it OpenCV decodes
        return ''


def space_text() -> str:
    """Describe the free space of disks and, on Linux, of the memory workers share.

    Returns:
        Gigabytes by place.
    """
    places = {'here': os.getcwd(), 'temporary files': tempfile.gettempdir()}
    shared = Path('/dev/shm')
    if shared.is_dir():
        places['shared memory'] = str(shared)
    return ', '.join(
        f'{shutil.disk_usage(path).free / 2**30:.1f} GB {name}'
        for name, path in places.items()
    )
