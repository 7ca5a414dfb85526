"""The methods around the hooks, such as ``_run``, that a PocketFlow program may override."""

from collections.abc import Callable
from typing import Any, NamedTuple

RUN, EXEC, ITEM = 0, 1, 2
"""The layers around the hooks: a whole visit; its exec (of a flow: its walk) with all items; one item of a batch."""

BASE_METHODS: set[object] = set()
"""The library's own methods of these layers."""


class Layer(NamedTuple):
    """A method around the hooks that a program may override: PocketFlow's ``_run``, ``_exec`` and ``_orch``.

    Attributes:
        level: `RUN`, `EXEC` or `ITEM`.
        method: The name of the method.
        called_by: The name of the method that the engine calls, which calls this one.
        is_async: Whether it is ``async def``.
    """

    level: int
    method: str
    called_by: str
    is_async: bool = False


def overridden(node: Any) -> list[Layer]:
    """Return the layers that a program overrides: in a class body, a mixin, a patched class or on the object."""
    cls = type(node)
    return [layer for layer in cls._dialect.layers.get(cls._kind, ()) if _is_overridden(node, layer)]


def router_of(node: Any) -> Callable[[Any, Any], Any] | None:
    """Return the method of a flow that chooses the next node, if a program overrides it."""
    name = type(node)._dialect.router
    if not name or (getattr(type(node), name, None) in BASE_METHODS and name not in node.__dict__):
        return None
    router: Callable[[Any, Any], Any] | None = getattr(node, name, None)
    return router


def _is_overridden(node: Any, layer: Layer) -> bool:
    """Return whether a user's method comes before the library's.

    For one item of a batch, only the classes after the library's batch class count: that calls it through ``super()``.
    """
    name = layer.method
    if layer.level != ITEM:
        return name in node.__dict__ or getattr(type(node), name) not in BASE_METHODS
    mro = type(node).__mro__
    behind = mro[next(i for i, cls in enumerate(mro) if is_batch_base(cls)) :]
    found = next(vars(cls)[name] for cls in behind if name in vars(cls) and not is_batch_base(cls))
    return found not in BASE_METHODS


def is_batch_base(cls: type) -> bool:
    """Return whether a class is a batch class of the library that has an ``_exec`` for all items."""
    own = vars(cls)
    return "_library_class" in own and "_exec" in own and getattr(cls, "_kind", "") == "batch_node"
