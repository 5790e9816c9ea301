"""fairseq (0.12.2, 0.12.3) refuses ``--user-dir fairseq_lrn`` after ``import fairseq_lrn``.

It takes the imported module for another package of the same name. It also compares user directories
as they are spelled, so a relative path or a link looks like another directory. The patch adds this
package to fairseq's record of imported user directories, by any path. A second checkout is still
refused.
"""

import os
from typing import Iterable, Set


class ImportedDirectories(set):
    """fairseq's record of imported user directories, which recognises this package by any path.

    Args:
        directories: the record so far.
        package: the ``__path__`` of this package.
    """

    def __init__(self, directories: Iterable[str], package: Iterable[str]):
        super().__init__(directories)
        self.package = {os.path.realpath(path) for path in package}

    def __contains__(self, directory: object) -> bool:
        return super().__contains__(directory) or os.path.realpath(str(directory)) in self.package


def patch_user_directory(package: Iterable[str]) -> None:
    """Tell fairseq that this package is imported.

    Args:
        package: the ``__path__`` of this package.
    """
    from fairseq.utils import import_user_module

    imported: Set[str] = getattr(import_user_module, "memo", set())
    if not isinstance(imported, ImportedDirectories):
        import_user_module.memo = ImportedDirectories(imported, package)
