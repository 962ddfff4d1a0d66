"""The command line: `charlstm train | resume | generate | ...`, the only package that prints.

Flags are made from the fields of `charlstm.config`; torch is loaded only by commands that need it.
"""

from charlstm.cli.dispatch import main

__all__ = ["main"]
