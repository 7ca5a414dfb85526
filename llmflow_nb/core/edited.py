"""Classes that are edited in a running notebook: an object keeps its old class after its cell is run again."""

import sys
from types import FunctionType
from typing import Any

from .errors import SignatureError
from .node import BaseNode
from .walk import within

__all__ = ["current_class", "rebind"]


def current_class(cls: type) -> type:
    """Return the class that now stands under this class's name in its module; itself where there is none.

    A class made inside a function cannot be found by name, and one of another kind is not taken for its successor, nor
    one that only happens to have the same name.
    """
    found: Any = sys.modules.get(cls.__module__)
    for part in cls.__qualname__.split("."):
        found = getattr(found, part, None)
    same_kind = isinstance(found, type) and getattr(found, "_kind", None) == getattr(cls, "_kind", None)
    return found if same_kind and _is_edited(cls, found) else cls


def _is_edited(cls: type, found: type) -> bool:
    """Whether a class comes from another run of the cell or file that another one comes from, edited or not.

    Told by the first method that both have. A loop makes several classes of the very same code; and two places of one
    cell or file make two classes.
    """
    for name, value in vars(cls).items():
        other = vars(found).get(name)
        if isinstance(value, FunctionType) and isinstance(other, FunctionType):
            before, now = value.__code__, other.__code__
            return before is not now and (
                before.co_filename != now.co_filename or before.co_firstlineno == now.co_firstlineno
            )
    return not _files(cls) & _files(found)


def _files(cls: type) -> set[str]:
    """Where the methods of a class are written; a cell has a name of its own, made from its text."""
    return {value.__code__.co_filename for value in vars(cls).values() if isinstance(value, FunctionType)}


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
