"""What the user changes on nodes while a stepper is in use: it counts at once, also in a visit that is in progress."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from ..core.encoding import key_of
from ..core.node import BaseNode, label
from ..engine.position import Position
from .replay import attributes_key

__all__ = ["Settings"]

_GONE: Any = object()
# What the engine and the library keep on a node.
_NOT_SET = frozenset({"last_run", "params", "items"})


class _Change(NamedTuple):
    """An attribute that the user has set on a node, or has taken away (``_GONE``); code: when, see `Moment`."""

    code: int
    node: BaseNode
    name: str
    value: Any


class _Seen(NamedTuple):
    """The attributes of a node, and the settings of its class; keys: what those count as that may change in place."""

    values: dict[str, Any]
    keys: dict[str, bytes]


class Settings:
    """The attributes of nodes as they were after the last command, and what was changed since.

    An attribute has changed if it is another object, or if it now has another key for the replay of calls.
    """

    def __init__(self) -> None:
        self._before: dict[int, _Seen] = {}
        self._changes: list[_Change] = []

    def settle(self, nodes: Iterable[BaseNode]) -> None:
        """Take nodes as they are now: what a hook has set on one is no change of the user's."""
        self._before = {id(node): _look_at(node) for node in nodes}

    def changed(self, nodes: Iterable[BaseNode], code: int) -> list[str]:
        """Take note of what was changed since, and return it in words: "Ask.prompt"."""
        found = []
        for node in nodes:
            before, now = self._before.get(id(node), _Seen({}, {})), _look_at(node)
            for name in {**before.values, **now.values, **before.keys, **now.keys}:
                was, value = before.values.get(name, _GONE), now.values.get(name, _GONE)
                is_other = was is not value and not (name == "successors" and was == value)
                if is_other or before.keys.get(name) != now.keys.get(name):
                    if value is _GONE:
                        value = getattr(type(node), name, _GONE)
                    self._changes.append(_Change(code, node, name, value))
                    found.append(f"{label(node)}.{name}")
        return list(dict.fromkeys(found))

    def apply(self, position: Position, *, since: int) -> None:
        """Set on the visits in progress what was changed on their nodes since then."""
        for change in self._changes:
            if change.code <= since or change.name == "successors":  # which a visit shares with its node
                continue
            for frame in position.frames:
                if frame.node is change.node and frame.visit is not None:
                    if change.value is _GONE:
                        frame.visit.__dict__.pop(change.name, None)
                    else:
                        frame.visit.__dict__[change.name] = change.value


def _look_at(node: BaseNode) -> _Seen:
    values = {name: value for name, value in node.__dict__.items() if name not in _NOT_SET}
    cls = type(node)
    of_class = {
        name: key_of(getattr(cls, name), loosely=True)
        for name in cls._dialect.settings
        if name not in values and hasattr(cls, name)
    }
    return _Seen(values | {"successors": dict(node.successors)}, attributes_key(node) | of_class)
