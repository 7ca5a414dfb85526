"""Libraries that this package uses only if the program has imported them: otherwise no value can be from them."""

import sys
from typing import Any

__all__ = ["loaded"]


def loaded(name: str, attribute: str) -> Any:
    """Return a module; None if it was not imported, or if another thread is about to import it.

    Args:
        name: The module.
        attribute: What it has once it can be used.
    """
    module = sys.modules.get(name)
    return module if hasattr(module, attribute) else None
