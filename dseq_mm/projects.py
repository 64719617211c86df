"""What builds on the package from outside it: ``dseq_mm.projects.NAME``.

The folder ``projects`` lies beside the package in a clone, and within it where it was
installed. Either way this is the name that a config's ``custom_imports`` has.
"""

from .utils.shipped import shipped_folder

# a link of an editable install leads to where the files are edited
__path__ = [str(shipped_folder('projects').resolve())]
