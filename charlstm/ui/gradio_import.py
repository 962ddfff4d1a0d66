"""Preparation of the import of Gradio: variables that would end it, a folder for uploads, and files it need not write.

Gradio reads all this when it is imported, so nothing here imports it.
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType

from charlstm.environment import (
    GRADIO_NUM_PORTS,
    GRADIO_NUM_WORKERS,
    GRADIO_SERVER_PORT,
    GRADIO_TEMP_DIR,
    NUMBERS_OF_LIBRARIES,
    NUMBERS_OF_THE_SERVER,
    VARIABLES,
)
from charlstm.errors import ConfigError
from charlstm.files import why_not_writable
from charlstm.process_setup import NUMBERS_OF_THE_HUB, check_certificates, check_numbers
from charlstm.proxy_cleanup import prepare_proxies

_NUMBERS_OF_GRADIO = (GRADIO_SERVER_PORT, GRADIO_NUM_PORTS, GRADIO_NUM_WORKERS)


def prepare_for_gradio() -> None:
    """Check all variables, some of which end an import of Gradio with a traceback, and choose a place for uploads.

    Called before that import; raises `ConfigError` for a variable that can't be used.
    """
    for variable in VARIABLES.values():
        variable.read()
    for numbers in (_NUMBERS_OF_GRADIO, NUMBERS_OF_THE_SERVER, NUMBERS_OF_LIBRARIES, NUMBERS_OF_THE_HUB):
        check_numbers(numbers)
    check_certificates()
    _choose_upload_folder()
    prepare_proxies()
    skip_interface_files()


def _choose_upload_folder() -> None:
    """Use the folder that is named, or Gradio's own temporary one if it is this user's, or else a new one."""
    if named := GRADIO_TEMP_DIR.text():
        if reason := why_not_writable(Path(named)):
            raise ConfigError(
                f"the folder {GRADIO_TEMP_DIR.name}={named[:200]!r} can't be written to ({reason}); name another."
            )
        return
    try:
        place = Path(tempfile.gettempdir())
        if not _is_own(place / "gradio"):
            os.environ[GRADIO_TEMP_DIR.name] = tempfile.mkdtemp(prefix="charlstm-uploads-")
    except OSError as error:
        raise ConfigError(
            f"no folder for temporary files can be written to ({error.strerror}); "
            f"name one in {GRADIO_TEMP_DIR.name} and TMPDIR."
        ) from None


def _is_own(folder: Path) -> bool:
    """Return whether this user alone may write to the folder; make it if there is none."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    is_mine = not hasattr(os, "getuid") or (found.st_uid == os.getuid() and not found.st_mode & 0o022)
    return folder.is_dir() and not folder.is_symlink() and is_mine and not why_not_writable(folder)


INTERFACE_WRITER = "create_or_modify_pyi"  # the function of `gradio.component_meta` that writes them


def skip_interface_files() -> None:
    """Keep Gradio from checking, at each import, the interface file that it writes for editors beside each component.

    Called before that import; the other patches are in `charlstm.ui.gradio_patches`, and a test fails once Gradio no
    longer needs this one. It parses all its components twice for that. *Measured* with gradio 6.31 on 2026-11-29 on
    2 cores of a busy x86-64 machine (Python 3.11): of 7.9 s of a processor's time (7.5 to 8.1) importing it takes 5.1
    (4.3 to 5.2).
    """
    if not any(isinstance(each, _ComponentsFinder) for each in sys.meta_path):
        sys.meta_path.insert(0, _ComponentsFinder())


class _ComponentsFinder:
    """An import hook for the one module of Gradio that makes classes of components."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find that module with another loader, and leave all others to the usual finders."""
        if name != "gradio.component_meta":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _ComponentsLoader(name, spec.loader.path)
        return spec


class _ComponentsLoader(SourceFileLoader):
    """Loads it with nothing in place of the function that writes the files."""

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module as it comes, and replace the function."""
        super().exec_module(module)
        if hasattr(module, INTERFACE_WRITER):
            setattr(module, INTERFACE_WRITER, lambda *_: None)
