"""Classes that are edited in a running notebook: an object keeps its old class after its cell is run again."""

import sys
from typing import Any

from .errors import SignatureError
from .node import BaseNode
from .walk import within

__all__ = ["current_class", "rebind"]


def current_class(cls: type) -> type:
    """Return the class that now stands under this class's name in its module; itself where there is none.

    A class made inside a function cannot be found by name, and one of another kind is not taken for its successor.
    """
    found: Any = sys.modules.get(cls.__module__)
    for part in cls.__qualname__.split("."):
        found = getattr(found, part, None)
    same_kind = isinstance(found, type) and getattr(found, "_kind", None) == getattr(cls, "_kind", None)
    return found if same_kind else cls


def rebind(root: BaseNode) -> list[BaseNode]:
    """Give a node, and every node within it, its class as it is now. Return those whose class had been edited.

    Raises:
        SignatureError: The new class has another layout (``__slots__``), so the object cannot become one of it.
    """
    changed = []
    for node in within(root):
        cls = current_class(type(node))
        if cls is not type(node):
            try:
                node.__class__ = cls
            except TypeError as exc:
                raise SignatureError(
                    f"{cls.__qualname__} was edited, and the node made of the old class cannot take it over: {exc}. "
                    "Make the node anew."
                ) from exc
            changed.append(node)
    return changed
