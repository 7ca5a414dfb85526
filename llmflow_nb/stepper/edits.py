"""What the user changes between two commands: code of nodes, and attributes set on them.

An edit counts at once, also in a visit that is in progress. What a hook changes during a command is not an edit.
"""

from typing import Any, NamedTuple

from ..core.edited import rebind
from ..core.node import BaseNode, label
from ..core.traversal import within
from ..engine.position import Position
from ..journal.keys import CallKeys

__all__ = ["Edits", "Found"]

_ABSENT: Any = object()
_Attribute = tuple[Any, bytes | None]
"""The value of an attribute, and its key for the replay of calls, which also shows a change in place."""
_NOT_SETTINGS = frozenset({"last_run", "params", "items"})
"""Attributes that the engine and the library keep on a node."""


class Found(NamedTuple):
    """The edits since the last command."""

    is_rebound: bool  # whether a node took over a new version of its class
    code: list[str]  # the labels of the nodes whose code changed
    attributes: list[str]  # the attributes that changed, such as "Ask.prompt"


class _AttributeEdit(NamedTuple):
    """An attribute that the user set on a node, or deleted (``_ABSENT``), and the edition that this made."""

    edition: int
    node: BaseNode
    name: str
    value: Any


class Edits:
    """Compares nodes with how the last command left them."""

    def __init__(self, root: BaseNode, keys: CallKeys) -> None:
        self.edition = 0  # the number of edits so far; a history entry has the edition of its time
        self._root, self._keys, self._fingerprints = root, keys, keys.fingerprints
        self._code = self._code_now()
        self._attributes: dict[int, dict[str, _Attribute]] = {}
        self._attribute_edits: list[_AttributeEdit] = []

    def accept_baseline(self) -> None:
        """Compare later edits with the nodes as they are now: the hooks have changed them, not the user."""
        nodes = within(self._root)
        self._keys.forget_large()
        self._attributes = {id(node): self._attributes_of(node) for node in nodes}
        self._fingerprints.settle(nodes)
        self._code = self._code_now()

    def find(self) -> Found:
        """Return the edits since the baseline. Each kind of edit begins a new edition.

        Nodes take over new versions of their classes.
        """
        self._fingerprints.forget()
        self._keys.forget_large()
        is_rebound = bool(rebind(within(self._root)))
        before, self._code = self._code, self._code_now()
        code = [name for key, (name, found) in self._code.items() if before.get(key, (name, found))[1] != found]
        attributes = self._find_attributes()
        self.edition += bool(attributes) + bool(code)
        return Found(is_rebound, list(dict.fromkeys(code)), attributes)

    def apply(self, position: Position, *, since: int) -> None:
        """Set attributes that were edited after an edition on the visits in progress."""
        for edit in self._attribute_edits:
            if edit.edition <= since or edit.name == "successors":  # which a visit shares with its node
                continue
            for frame in position.frames:
                if frame.node is edit.node and frame.visit is not None:
                    if edit.value is _ABSENT:
                        frame.visit.__dict__.pop(edit.name, None)
                    else:
                        frame.visit.__dict__[edit.name] = edit.value

    def _code_now(self) -> dict[int, tuple[str, bytes]]:
        return {id(node): (label(node), self._fingerprints.of(node)) for node in within(self._root)}

    def _find_attributes(self) -> list[str]:
        """An attribute has changed if its value is another object, or if its key is another one."""
        edited = []
        for node in within(self._root):
            before, now = self._attributes.get(id(node), {}), self._attributes_of(node)
            for name in {**before, **now}:
                (was, key_before), (value, key) = (found.get(name, (_ABSENT, None)) for found in (before, now))
                is_other = was is not value and not (name == "successors" and was == value)
                if is_other or key_before != key:
                    if key_before == key:  # such as another client: it may answer differently
                        self._keys.distinguish(value)
                    if value is _ABSENT:
                        value = getattr(type(node), name, _ABSENT)
                    self._attribute_edits.append(_AttributeEdit(self.edition + 1, node, name, value))
                    edited.append(f"{label(node)}.{name}")
        return list(dict.fromkeys(edited))

    def _attributes_of(self, node: BaseNode) -> dict[str, _Attribute]:
        """Return the attributes of a node and the settings of its class."""
        cls, own, of_value = type(node), vars(node), self._keys.of_value
        settings = [name for name in cls._dialect.settings if name not in own and hasattr(cls, name)]
        keys = self._keys.of_attributes(node) | {name: of_value(getattr(cls, name)) for name in settings}
        values = {name: value for name, value in own.items() if name not in _NOT_SETTINGS}
        values["successors"] = dict(node.successors)
        return {name: (values.get(name, _ABSENT), keys.get(name)) for name in {**values, **keys}}
