"""Packaging of dseq_mm.

No distribution of OpenMMLab is named in ``install_requires``, nor are PyTorch, NumPy
and OpenCV: the import names mmengine, mmcv and mmpretrain exist in two distributions,
and either will do; an installation leaves what is there as it is. ``requirements/``
pins the reference stack, ``tools/setup_env.sh`` installs it. The extras ``pretrain``
and ``dense`` name OneDL's distributions, for an environment that has none.
"""

import os
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
SHIPPED = ('configs', 'tools', 'projects', 'docs', 'model-index.yml')
# the scripts that set up a clone have nothing to set up in an installed package
NOT_SHIPPED = (
    '__pycache__',
    'setup_env.sh',
    'run_tests.sh',
    'quickstart.sh',
    'test_matrix.sh',
)


class BuildWithConfigs(build_py):
    """Ship configs, tools, projects and docs as ``dseq_mm/.mim``.

    MMEngine and ``mim`` look for configs and tools there. An editable install gets
    links, so that edited configs count at once, or copies where there are no links.
    """

    def run(self):
        """Build the package, then add ``.mim``."""
        super().run()
        package = ROOT if self.editable_mode else Path(self.build_lib)
        mim = package / 'dseq_mm' / '.mim'
        shutil.rmtree(mim, ignore_errors=True)
        mim.mkdir(parents=True)
        for name in SHIPPED:
            self.ship(ROOT / name, mim / name)

    def ship(self, source, target):
        """Link a file or folder in an editable install, else copy it."""
        if self.editable_mode:
            try:
                target.symlink_to(os.path.relpath(source, target.parent))
                return
            except OSError as error:  # Windows allows links to administrators alone
                self.announce(f'{source.name} is copied, not linked: {error}', 3)
        if source.is_dir():
            ignored = shutil.ignore_patterns(*NOT_SHIPPED)
            shutil.copytree(source, target, ignore=ignored)
        else:
            shutil.copy(source, target)


def requirements(name):
    """The lines of a requirement file, without comments."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line for line in lines if line and not line.startswith('#')]


version = {}
exec((ROOT / 'dseq_mm' / 'version.py').read_text(), version)
readme = ROOT / 'README.md'

RUNTIME = requirements('runtime')
OPENMMLAB = requirements('openmmlab')
DENSE = re.compile('detection|segmentation')

setup(
    name='dseq_mm',
    version=version['__version__'],
    description='DSeq-JEPA and I-JEPA pre-training for MMPretrain',
    long_description=readme.read_text() if readme.exists() else '',
    long_description_content_type='text/markdown',
    author='The dseq_mm authors',
    license='Apache-2.0',
    license_files=['LICENSE'],
    keywords='self-supervised learning, JEPA, vision transformer, OpenMMLab',
    project_urls={'Paper': 'https://arxiv.org/abs/2511.17354'},
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    python_requires='>=3.10',
    packages=find_packages(include=['dseq_mm', 'dseq_mm.*']),
    package_data={'dseq_mm': ['py.typed', 'report/*.html']},
    cmdclass={'build_py': BuildWithConfigs},
    entry_points={'console_scripts': ['dseq-mm=dseq_mm.__main__:main']},
    install_requires=['numba>=0.60', 'safetensors>=0.4', 'tabulate>=0.9'],
    extras_require={
        'pretrain': [
            name for name in OPENMMLAB if 'det' not in name and 'seg' not in name
        ],
        'dense': OPENMMLAB,
        'plots': requirements('plots'),
        'digits': [name for name in RUNTIME if 'scikit' in name],
        'weights': requirements('weights'),
        'tests': [
            name
            for part in ('tests', 'weights', 'plots', 'docs')
            for name in requirements(part)
        ]
        + RUNTIME,
        'dev': RUNTIME + requirements('tests') + ['pre-commit>=3'],
    },
    zip_safe=False,
)
