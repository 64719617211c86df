"""Packaging of dseq_mm.

No distribution of OpenMMLab is named in ``install_requires``: the import names
mmengine, mmcv and mmpretrain exist in two distributions, and either will do.
``requirements/`` pins the reference stack, ``tools/setup_env.sh`` installs it.
"""

import os
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
SHIPPED = ('configs', 'tools', 'model-index.yml')
# the scripts that set up a clone have nothing to set up in an installed package
NOT_SHIPPED = ('__pycache__', 'setup_env.sh', 'run_tests.sh', 'quickstart.sh')


class BuildWithConfigs(build_py):
    """Ship configs and tools as ``dseq_mm/.mim``, where mmengine looks for them.

    An editable install gets links, so that edited configs count at once.
    """

    def run(self):
        """Build the package, then add ``.mim``."""
        super().run()
        package = ROOT if self.editable_mode else Path(self.build_lib)
        mim = package / 'dseq_mm' / '.mim'
        shutil.rmtree(mim, ignore_errors=True)
        mim.mkdir(parents=True)
        for name in SHIPPED:
            source, target = ROOT / name, mim / name
            if self.editable_mode:
                target.symlink_to(os.path.relpath(source, mim))
            elif source.is_dir():
                shutil.copytree(
                    source, target, ignore=shutil.ignore_patterns(*NOT_SHIPPED)
                )
            else:
                shutil.copy(source, target)


def requirements(name):
    """The lines of a requirement file, without comments."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line for line in lines if line and not line.startswith('#')]


version = {}
exec((ROOT / 'dseq_mm' / 'version.py').read_text(), version)
readme = ROOT / 'README.md'

setup(
    name='dseq_mm',
    version=version['__version__'],
    description='DSeq-JEPA and I-JEPA pre-training for MMPretrain',
    long_description=readme.read_text() if readme.exists() else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['dseq_mm', 'dseq_mm.*']),
    package_data={'dseq_mm': ['py.typed']},
    cmdclass={'build_py': BuildWithConfigs},
    install_requires=['safetensors>=0.4', 'tabulate>=0.9'],
    extras_require={
        'digits': ['scikit-learn>=1.4'],
        'tests': requirements('runtime') + requirements('tests'),
    },
    zip_safe=False,
)
