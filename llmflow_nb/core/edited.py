"""Classes that are edited in a running notebook: an object keeps its old class after its cell is run again."""

import sys
from types import CodeType, FunctionType
from typing import Any

from .errors import SignatureError, warn
from .hooks import is_library_class
from .node import BaseNode, kind_of
from .walk import within

__all__ = ["current_class", "rebind"]


def current_class(cls: type[BaseNode]) -> type[BaseNode]:
    """Return the class that now stands under this class's name in its module; itself where there is none.

    A class made inside a function cannot be found by name, and one that only happens to have the same name is none.
    """
    found: Any = sys.modules.get(cls.__module__)
    for part in cls.__qualname__.split("."):
        found = getattr(found, "__dict__", {}).get(part)  # not by getattr: a module may have one that does something
    is_node_class = isinstance(found, type) and hasattr(found, "_kind") and not is_library_class(found)
    return found if is_node_class and _is_edited(cls, found) else cls


def _is_edited(cls: type, found: type) -> bool:
    """Whether a class comes from another run of the cell or file that another one comes from, edited or not.

    Told by the first method that both have with code of its own. A loop makes several classes of the very same code;
    and two places of one cell or file make two classes. Of a class without methods nothing can be told.
    """
    for name, value in vars(cls).items():
        before, now = _code(value), _code(vars(found).get(name))
        if before is not None and now is not None and before is not now:
            return before.co_filename != now.co_filename or before.co_firstlineno == now.co_firstlineno
    return _files(cls).isdisjoint(_files(found)) and bool(_files(cls))


def _code(method: Any) -> CodeType | None:
    """The code of a method as it was written, without what decorators put around it."""
    while hasattr(method, "__wrapped__"):
        method = method.__wrapped__
    return method.__code__ if isinstance(method, FunctionType) else None


def _files(cls: type) -> set[str]:
    """Where the methods of a class are written; a cell has a name of its own, made from its text."""
    return {code.co_filename for value in vars(cls).values() if (code := _code(value)) is not None}


def rebind(root: BaseNode) -> list[BaseNode]:
    """Give a node, and every node within it, its class as it is now. Return those whose class had been edited.

    Raises:
        SignatureError: The new class has another layout (``__slots__``), so the object cannot become one of it.
    """
    changed = []
    for node in within(root):
        cls = current_class(type(node))
        if cls is type(node):
            continue
        if cls._kind != kind_of(node):
            warn(
                f"{cls.__qualname__} was defined again as another kind of node; the flow has the old one until it is "
                "wired anew."
            )
            continue
        try:
            node.__class__ = cls
        except TypeError as exc:
            raise SignatureError(
                f"{cls.__qualname__} was edited, and the node made of the old class cannot take it over: {exc}. "
                "Make the node anew."
            ) from exc
        changed.append(node)
    return changed
