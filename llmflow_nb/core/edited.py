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
    return found if is_node_class and found is not cls and _is_edited(cls, found) else cls


def _is_edited(cls: type, found: type) -> bool:
    """Whether a class comes from another run of the cell or file that another one comes from, edited or not.

    Told by the first method that both have with code of its own. A loop makes several classes of the very same code;
    and two places of one cell or file make two classes. A class without methods is told by its bases.
    """
    for name, value in vars(cls).items():
        old, new = _code(value), _code(vars(found).get(name))
        if old is not None and new is not None and old is not new:
            return old.co_filename != new.co_filename or old.co_firstlineno == new.co_firstlineno
    if _files(cls):
        return _files(cls).isdisjoint(_files(found))
    before, now = ([(base.__module__, base.__qualname__) for base in each.__bases__] for each in (cls, found))
    if _files(found) or before != now:
        return False
    if cls.__bases__ != found.__bases__:  # the cell of one of them was run again
        return True
    if _attributes(cls) != _attributes(found):  # an edit, or the next one of a loop
        warn(
            f"{cls.__qualname__} was defined again, and has no methods to tell an edit by; the flow keeps the class "
            "that its node was made with. Make the node anew to have the new one."
        )
    return False


def _code(method: Any) -> CodeType | None:
    """The code of a method as it was written, without what decorators put around it."""
    if isinstance(method, staticmethod | classmethod):
        method = method.__func__
    while isinstance(method, FunctionType) and "__wrapped__" in vars(method):
        method = vars(method)["__wrapped__"]
    return method.__code__ if isinstance(method, FunctionType) else None


def _attributes(cls: type) -> dict[str, Any]:
    plain = str | int | float | None
    return {name: value for name, value in vars(cls).items() if name[:1] != "_" and isinstance(value, plain)}


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
