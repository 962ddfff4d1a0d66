"""A patch of Gradio that must be in place before Gradio is imported; the others are in `charlstm.ui.gradio_patches`.

`tests/ui/test_gradio_patches.py` has a test that fails once Gradio no longer needs it.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

INTERFACE_WRITER = "create_or_modify_pyi"  # the function of `gradio.component_meta` that writes them


def skip_interface_files() -> None:
    """Keep Gradio from checking, at each import, the interface file that it writes for editors beside each component.

    Called before that import. It parses all its components twice for that. *Measured* with gradio 6.31 on 2026-11-29 on
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
