"""What the engine has to know of a node that depends on its class, its hooks and its settings alone.

Working it out takes 20 us. All nodes of one class with the same settings share the result, in all runs, until a method
of the class is replaced. The cache belongs to the `Hooks` of the class, which are then decided again.
"""

from operator import attrgetter
from typing import Any

from ..core.hooks import Hooks, hooks_of, overridden, router_of
from ..core.node import BaseNode, check_setting
from ..core.seconds import LONGEST

__all__ = ["facts_of"]

_OF_KIND = {
    "max_retries": 1,
    "wait": 0,
    "timeout": None,
    "limiter": None,
    "max_concurrency": 1,
    "on_error": "raise",
    "keep_items": True,
    "strict": False,
    "max_steps": None,
    "item_key": None,
}
"""The settings that the engine reads, and what holds for a kind of node that has no such setting."""

_MOST_COMBINATIONS = 64
"""Combinations of settings that are cached for a class."""

_readers: dict[type, tuple[tuple[str, ...], Any]] = {}


def facts_of(node: BaseNode, calls_here: bool) -> dict[str, Any]:
    """Return the fields of a `Plan` that depend on the class, the hooks and the settings of a node. Not to be changed.

    Args:
        node: The node.
        calls_here: Whether the run makes calls in the caller's thread, with nothing that watches or answers them.

    Raises:
        SettingError: A setting that was assigned later makes no sense.
        SignatureError: A hook that was assigned later cannot be called.
    """
    hooks = hooks_of(node)
    names, read = _readers.get(hooks.library_class) or _reader(hooks.library_class)
    values = read(node)
    key = (calls_here, *map(id, values))  # by identity: 1 is True is 1.0 otherwise
    known = hooks.facts.get(key)
    if known is not None:
        fields: dict[str, Any] = known[0]
        return fields
    settings = {**_OF_KIND, **_fixed(hooks.library_class)}
    plain = [
        value if value is settings[name] else check_setting(node, name, value)
        for name, value in zip(names, values[2:], strict=True)
    ]
    fields = _work_out(node, hooks, {**settings, **dict(zip(names, plain, strict=True))}, calls_here)
    if all(value is kept for value, kept in zip(values[2:], plain, strict=True)):  # else it may change, as an array may
        if len(hooks.facts) >= _MOST_COMBINATIONS:
            hooks.facts.clear()
        hooks.facts[key] = fields, values  # the values are kept, so that their ids stay theirs
    return fields


def _reader(library_class: type) -> tuple[tuple[str, ...], Any]:
    """Return which settings the engine reads of nodes of a library class, and a function that reads all it depends on.

    A class of PocketFlow's names may use ``timeout`` or ``limiter`` for something of its own, see `Dialect.settings`.
    """
    obeyed = library_class._dialect.settings  # type: ignore[attr-defined]
    names = tuple(name for name in _OF_KIND if hasattr(library_class, name) and name in obeyed)
    _readers[library_class] = names, attrgetter("_kind", "_dialect", *names)  # of one name it would give no tuple
    return _readers[library_class]


def _fixed(library_class: type) -> dict[str, Any]:
    """Return the settings as the library's class has them."""
    return {name: getattr(library_class, name) for name in _OF_KIND if hasattr(library_class, name)}


def _work_out(node: BaseNode, hooks: Hooks, settings: dict[str, Any], calls_here: bool) -> dict[str, Any]:
    cls = type(node)
    kind, dialect = cls._kind, cls._dialect
    is_flow = kind in ("flow", "batch_flow")
    limit, timeout, limiter = settings["max_concurrency"], settings["timeout"], settings["limiter"]
    inline = calls_here and limit == 1 and timeout is None and limiter is None and not hooks.exec_is_async
    plain_names = (hooks.prep, hooks.exec, hooks.post) == ("prep", "exec", "post")
    return {
        "cls": cls,
        "kind": kind,
        "hooks": hooks,
        "plain_names": plain_names,
        "exec_takes_shared": hooks.exec_takes_shared,
        "any_action": dialect.any_action,
        "hooks_overlap": dialect.hooks_overlap,
        "copies_plainly": _copies_plainly(cls),
        "limit": limit,
        "timeout": None if timeout is None else min(timeout, LONGEST),
        "limiter": limiter,
        "on_error": settings["on_error"],
        "keep": settings["keep_items"],
        "strict": settings["strict"],
        "max_steps": settings["max_steps"],
        "item_key": settings["item_key"],
        "expands": kind == "batch_flow" and "exec" in hooks.own,
        "inline": inline,
        "direct": inline and kind == "node" and plain_names,
        "is_flow": is_flow,
        "hands_on": kind == "flow" and "post" not in hooks.own,
        "has_prep": "prep" in hooks.own or is_flow,
        "has_post": "post" in hooks.own or is_flow,
        "has_router": is_flow and router_of(node) is not None,
        "layers": overridden(node),
        "layer": None,
        "driven": None,
        "setup": None,
        "names": None,
        "inner": None,
    }


def _copies_plainly(cls: type) -> bool:
    """Return whether ``copy.copy`` would do no more than make a new object with the same ``__dict__``.

    ``copy.copy`` costs 2.6 us a visit, and the same by hand 0.3 us.
    """
    plain = ("__copy__", "__setattr__")
    return (
        all(getattr(cls, name, None) is getattr(BaseNode, name, None) for name in plain)
        and not any(base.__dict__.get("__slots__") for base in cls.__mro__)
        and cls.__basicsize__ == BaseNode.__basicsize__
    )
