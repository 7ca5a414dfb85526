"""Facts about nodes that depend on nothing but class, hooks and settings.

To find them out takes 20 us. All nodes of one class with the same settings share them, in all runs, until a method of
the class is replaced. The cache belongs to the `Hooks` of the class, which are then decided again.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from operator import attrgetter, is_
from typing import Any, NamedTuple

from ..core.hooks import Hooks, hooks_of, hooks_of_class, look_in
from ..core.layers import EXEC, ITEM, RUN, Layer, overridden, router_of
from ..core.node import BaseNode
from ..core.seconds import LONGEST
from ..core.settings import check_setting

__all__ = ["Checked", "Facts", "Settings", "behind_layers", "facts_of"]

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


class Settings(NamedTuple):
    """The settings of a node, as the engine obeys them."""

    limit: int | None  # calls or param sets in flight at once; None: no bound
    timeout: float | None  # seconds of one attempt
    limiter: Any
    on_error: str
    keep_items: bool
    strict: bool
    max_steps: float  # infinite: no limit
    item_key: str | None


@dataclass(slots=True, eq=False)
class Facts:
    """What a visit has to know of a node besides the node itself. Not to be changed: many nodes share it."""

    cls: type[BaseNode]
    kind: str  # "node", "batch_node", "flow" or "batch_flow"
    hooks: Hooks
    settings: Settings
    has_prep: bool
    has_post: bool
    plain_names: bool  # whether the hooks are called ``prep``, ``exec`` and ``post``
    exec_takes_shared: bool
    copies_plainly: bool  # whether a copy is a new object with the same attributes
    is_flow: bool
    expands: bool  # whether it is a `BatchFlow` with an ``exec`` of its own
    has_router: bool  # whether it is a flow with its own ``get_next_node``
    # How ``exec`` may be called, if the run makes calls in the caller's thread.
    unbound: bool  # whether no limit, limiter or timeout needs the scheduler
    direct: bool  # whether it is that of a plain node with plain names, and `advance` may call it
    # Of a node whose class overrides methods around its hooks, see `override`.
    layers: list[Layer]
    layer: Layer | None = None  # the one that makes the visit

    @property
    def inline(self) -> bool:
        """Whether `advance` itself may call ``exec``."""
        return self.unbound and not self.hooks.exec_is_async

    @property
    def awaited(self) -> bool:
        """Whether ``exec`` is the async one of a plain node, which a driver may await itself."""
        return self.unbound and self.kind == "node" and self.hooks.exec_is_async and self.layer is None

    @property
    def hands_on(self) -> bool:
        """Whether it is a flow whose action is that of its last step."""
        return self.kind == "flow" and "post" not in self.hooks.own

    @property
    def any_action(self) -> bool:
        """Whether ``post`` may return any hashable value."""
        return self.cls._dialect.any_action

    @property
    def hooks_overlap(self) -> bool:
        """Whether ``prep`` and ``post`` are awaited side by side with those of other walks."""
        return self.cls._dialect.hooks_overlap


Checked = dict[type, "_OfClass"]


def facts_of(node: BaseNode, calls_here: bool, checked: Checked) -> Facts:
    """Return the facts that depend on the class, the hooks and the settings of a node.

    Args:
        node: The node.
        calls_here: Whether the run makes calls in the caller's thread, with nothing that watches or answers them.
        checked: The classes that the run has checked, so that it checks each once.

    Raises:
        SettingError: A setting that was assigned later is not valid.
        SignatureError: A hook that was assigned later cannot be called.
    """
    cls = type(node)
    of_class = checked.get(cls)
    if of_class is None:
        hooks: Hooks | None = cls.__dict__.get("_hooks")
        of_class = None if hooks is None else hooks.facts.get(calls_here)
        if of_class is None or of_class.found != of_class.look(cls):
            of_class = _OfClass(cls)
            of_class.hooks.facts[calls_here] = of_class
        checked[cls] = of_class
    if not of_class.own_names.isdisjoint(node.__dict__):
        return _of_node(node, calls_here, of_class)
    return of_class.facts or of_class.find_facts(node, calls_here)


class _OfClass:
    """The facts of the nodes of a class that have no hooks and settings of their own.

    Attributes:
        hooks: The hooks of the class.
        settings: The names of the settings that the engine obeys.
        read: Returns their values, behind the kind and the dialect.
        own_names: The attributes by which a node differs from its class.
        look: Returns the methods and settings of the class on which the facts depend.
        found: The result of ``look`` when the facts were found out. Another result makes them out of date.
        facts: The facts. None: no such node was seen yet, or a setting is a property of the class.
    """

    __slots__ = ("facts", "found", "hooks", "look", "own_names", "read", "settings")

    def __init__(self, cls: type) -> None:
        self.hooks = hooks_of_class(cls)
        self.settings, self.read = _reader(self.hooks.library_class)
        self.own_names = self.hooks.names.union(self.settings)
        self.look = look_in(cls, *self.settings)
        self.found = self.look(cls)
        self.facts: Facts | None = None

    def find_facts(self, node: BaseNode, calls_here: bool) -> Facts:
        """Return the facts of a node without hooks and settings of its own."""
        facts = _of_node(node, calls_here, self)
        if all(map(is_, self.read(type(node)), self.read(node))):  # values differ if a setting is a property
            self.facts = facts
        return facts


def _of_node(node: BaseNode, calls_here: bool, of_class: _OfClass) -> Facts:
    """Return the facts of a node, from the cache if a node of its class had the very same settings."""
    hooks, settings = of_class.hooks, of_class.settings
    if not hooks.names.isdisjoint(node.__dict__):
        hooks = hooks_of(node)
    values = of_class.read(node)
    key = (calls_here, *map(id, values))  # by identity, since 1 == True
    known = hooks.facts.get(key)
    if known is not None:
        cached: Facts = known[0]
        return cached
    defaults = {**_OF_KIND, **_fixed(hooks.library_class)}
    plain = [
        value if value is defaults[name] else check_setting(node, name, value)
        for name, value in zip(settings, values[2:], strict=True)
    ]
    facts = _work_out(node, hooks, {**defaults, **dict(zip(settings, plain, strict=True))}, calls_here)
    if all(map(is_, values[2:], plain)):  # else it may change, as an array may
        if len(hooks.facts) >= _MOST_COMBINATIONS:
            hooks.facts.clear()
        hooks.facts[key] = facts, values  # the values are kept, so that their ids stay theirs
    return facts


@cache
def _reader(library_class: Any) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]:
    """Return the names of the settings that a library class has, and a function that reads their values.

    A class of PocketFlow's names may use ``timeout`` or ``limiter`` for something of its own, see `Dialect.settings`.
    """
    dialect = library_class._dialect
    settings = tuple(name for name in _OF_KIND if hasattr(library_class, name) and name in dialect.settings)
    return settings, attrgetter("_kind", "_dialect", *settings)


def _fixed(library_class: type) -> dict[str, Any]:
    """Return the settings as the library's class has them."""
    return {name: getattr(library_class, name) for name in _OF_KIND if hasattr(library_class, name)}


def _work_out(node: BaseNode, hooks: Hooks, settings: dict[str, Any], calls_here: bool) -> Facts:
    cls = type(node)
    kind = cls._kind
    is_flow = kind in ("flow", "batch_flow")
    limit, timeout, limiter = settings["max_concurrency"], settings["timeout"], settings["limiter"]
    unbound = calls_here and limit == 1 and timeout is None and limiter is None
    plain_names = (hooks.prep, hooks.exec, hooks.post) == ("prep", "exec", "post")
    return Facts(
        cls=cls,
        kind=kind,
        hooks=hooks,
        settings=Settings(
            limit=limit,
            timeout=None if timeout is None else min(timeout, LONGEST),
            limiter=limiter,
            on_error=settings["on_error"],
            keep_items=settings["keep_items"],
            strict=settings["strict"],
            max_steps=float("inf") if settings["max_steps"] is None else settings["max_steps"],
            item_key=settings["item_key"],
        ),
        has_prep="prep" in hooks.own or kind == "batch_flow",
        has_post="post" in hooks.own or is_flow,
        plain_names=plain_names,
        exec_takes_shared=hooks.exec_takes_shared,
        copies_plainly=_copies_plainly(cls),
        is_flow=is_flow,
        expands=kind == "batch_flow" and "exec" in hooks.own,
        has_router=is_flow and router_of(node) is not None,
        unbound=unbound,
        direct=unbound and not hooks.exec_is_async and kind == "node" and plain_names,
        layers=overridden(node),
    )


def behind_layers(facts: Facts, within: int) -> Facts:
    """Return the facts of a visit in which a user's override of ``_run``, ``_exec`` or ``_orch`` is the exec.

    Args:
        facts: Those of the node.
        within: The outermost layer that counts. The layers around it have been entered.
    """
    kind, limit = facts.kind, facts.settings.limit
    if within > ITEM and kind == "batch_node":  # the base of the innermost layer calls one item
        kind, limit = "node", 1
    layer = next((layer for layer in facts.layers if layer.level >= within), None)
    if layer is None:
        return replace(facts, kind=kind, settings=facts.settings._replace(limit=limit))
    hooks = replace(
        facts.hooks,
        exec=layer.called_by,
        exec_takes_shared=True,
        exec_is_async=layer.is_async,
        own=(facts.hooks.own | {"exec"}) - {"fallback"},
        facts={},
    )
    is_visit = layer.level == RUN
    if is_visit:
        hooks = replace(hooks, post="_hand_back", facts={})
    if is_visit or (layer.level == EXEC and facts.kind != "batch_flow"):
        kind, limit = "node", 1
    elif facts.kind == "batch_flow":
        kind = "batch_node"
    return replace(
        facts,
        kind=kind,
        hooks=hooks,
        settings=facts.settings._replace(limit=limit),
        has_prep=facts.has_prep and not is_visit,
        has_post=facts.has_post or is_visit,
        plain_names=False,
        exec_takes_shared=True,
        copies_plainly=False,
        is_flow=False,
        expands=False,
        unbound=limit == 1,
        direct=False,
        layer=layer,
    )


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
