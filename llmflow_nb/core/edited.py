"""Give nodes the new version of their class after its cell was edited and run again."""

import sys
from collections.abc import Iterable
from typing import Any

from .definitions import Definition, any_superseded
from .errors import SignatureError, warn
from .hooks import is_library_class
from .node import BaseNode, kind_of


def current_class(cls: type[BaseNode]) -> type[BaseNode]:
    """Return the new version of a class; the class itself if there is none, or if that is not certain.

    The new version has the same module and the same qualified name, is the value of that name now, and was defined by
    the latest run of a cell or load of the module. See `core/definitions.py`.
    """
    definition = _definition(cls)
    if definition is None or not definition.is_superseded or not definition.has_only(cls):
        return cls
    found: Any = sys.modules.get(cls.__module__)
    for part in cls.__qualname__.split("."):
        found = getattr(found, "__dict__", {}).get(part)  # without the module's own ``__getattr__``
    if not isinstance(found, type) or not hasattr(found, "_kind") or is_library_class(found):
        return cls
    latest = _definition(found)
    has_same_name = (found.__module__, found.__qualname__) == (cls.__module__, cls.__qualname__)
    is_new = latest is not None and not latest.is_superseded and latest.has_only(found)
    return found if has_same_name and is_new else cls


def _definition(cls: type) -> Definition | None:
    return cls.__dict__.get("_definition")


def rebind(nodes: Iterable[BaseNode]) -> list[tuple[BaseNode, type[BaseNode]]]:
    """Give nodes the new version of their class.

    Returns:
        The nodes whose class changed, each with the class that it had.

    Raises:
        SignatureError: The new class has another layout (``__slots__``), so the object cannot change to it.
    """
    if not any_superseded():
        return []
    changed = []
    for node in nodes:
        old = type(node)
        cls = current_class(old)
        if cls is old:
            continue
        if cls._kind != kind_of(node):
            warn(
                f"{cls.__qualname__} was defined again as another kind of node; the flow keeps the previous class "
                "until it is wired again."
            )
            continue
        try:
            node.__class__ = cls
        except TypeError as exc:
            raise SignatureError(
                f"{cls.__qualname__} was edited, and a node of the previous class cannot change to it: {exc}. "
                "Create the node again to use the new class."
            ) from exc
        changed.append((node, old))
    return changed
