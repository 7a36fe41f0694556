"""Modules of the user's own: strategies that register themselves, learners."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

from hfal.errors import HfalError


def bring_in(module: str, key: str) -> ModuleType:
    """Import a module by its name, found from the current folder too.

    Args:
        module: its dotted name.
        key: of the config, for the error.

    Raises:
        HfalError: it cannot be imported.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise HfalError(f"{key}: {module!r} cannot be imported: {error}") from None
