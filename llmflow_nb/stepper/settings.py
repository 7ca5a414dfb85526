"""What the user sets on nodes while a stepper is under way: it is to count at once, also in a visit that has begun."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from ..core.node import BaseNode, label
from ..engine.position import Position

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


class Settings:
    """The attributes of nodes, as they were after the last command, and what was changed since."""

    def __init__(self) -> None:
        self._before: dict[int, dict[str, Any]] = {}
        self._changes: list[_Change] = []

    def settle(self, nodes: Iterable[BaseNode]) -> None:
        """Take nodes as they are now: what a hook has set on one is no change of the user's."""
        self._before = {id(node): _attributes(node) for node in nodes}

    def changed(self, nodes: Iterable[BaseNode], code: int) -> list[str]:
        """Take note of what was set since, and return it in words: "Ask.prompt"."""
        found = []
        for node in nodes:
            before, now = self._before.get(id(node), {}), _attributes(node)
            for name in {**before, **now}:
                was, value = before.get(name, _GONE), now.get(name, _GONE)
                if was is not value and not (name == "successors" and was == value):
                    self._changes.append(_Change(code, node, name, value))
                    found.append(f"{label(node)}.{name}")
        return list(dict.fromkeys(found))

    def apply(self, position: Position, *, since: int) -> None:
        """Set on the visits under way what was set on their nodes since then."""
        for change in self._changes:
            if change.code <= since or change.name == "successors":  # which a visit shares with its node
                continue
            for frame in position.frames:
                if frame.node is change.node and frame.visit is not None:
                    if change.value is _GONE:
                        frame.visit.__dict__.pop(change.name, None)
                    else:
                        frame.visit.__dict__[change.name] = change.value


def _attributes(node: BaseNode) -> dict[str, Any]:
    found = {name: value for name, value in node.__dict__.items() if name not in _NOT_SET}
    return found | {"successors": dict(node.successors)}
