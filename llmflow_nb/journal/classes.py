"""Find the class of a stored object: among classes that the reader has, never by importing a name from a file."""

import typing
from collections.abc import Iterable, Iterator
from types import FunctionType, ModuleType
from typing import Any

from ..core.code_parts import is_library
from ..core.node import BaseNode

__all__ = ["Classes", "name_of_class"]


def name_of_class(cls: type) -> str:
    """Return the name under which an object of this class is stored."""
    return f"{cls.__module__}:{cls.__qualname__}"


class Classes:
    """The classes that stored objects may have, in the order in which they are searched.

    These are the classes that the user passes, the classes in the return annotation of ``exec``, and the classes in the
    node's module and the user's modules that it has imported.
    """

    def __init__(self, types: Iterable[type] = (), node: BaseNode | type | None = None) -> None:
        self._given = {name_of_class(cls): cls for cls in types}
        self._node = None if node is None else node if isinstance(node, type) else type(node)

    def find(self, name: Any) -> type | None:
        """Return the class that has this name now; None if there is none."""
        if name in self._given:
            return self._given[name]
        if self._node is None:
            return None
        exec_ = getattr(self._node, "exec", None)
        for cls in _in_annotation(exec_):
            if name_of_class(cls) == name:
                return cls
        for module in _modules_of(exec_):
            found = _member(module, name)
            if found is not None:
                return found
        return None


def _in_annotation(function: Any) -> Iterator[type]:
    """Iterate over the classes in the annotation of what a function returns."""
    try:
        found = [typing.get_type_hints(function).get("return")]
    except Exception:  # an annotation may be any text, and names that do not exist yet
        return
    for part in found:  # grows as it is read
        if isinstance(part, type) and typing.get_origin(part) is None:
            yield part
        found += typing.get_args(part)


def _modules_of(function: Any) -> Iterator[dict[str, Any]]:
    """Iterate over the names in the module of a function, and in the user's modules among them."""
    if not isinstance(function, FunctionType):
        return
    namespace = function.__globals__
    yield namespace
    for value in list(namespace.values()):
        if isinstance(value, ModuleType) and not is_library(value.__name__):
            yield vars(value)


def _member(namespace: dict[str, Any], name: Any) -> type | None:
    """Return the class of this name in a module, as its own name or behind another one; None if there is none."""
    first, *rest = str(name).rpartition(":")[2].split(".")
    found = namespace.get(first)
    for part in rest:
        found = vars(found).get(part) if isinstance(found, type) else None
    if isinstance(found, type) and name_of_class(found) == name:
        return found
    return next((value for value in list(namespace.values()) if _is_named(value, name)), None)


def _is_named(value: Any, name: Any) -> bool:
    return isinstance(value, type) and name_of_class(value) == name
