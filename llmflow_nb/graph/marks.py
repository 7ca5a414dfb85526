"""What happened to the nodes and edges of a graph, for who draws it: plain data, whoever it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["STATE_WORDS", "Mark", "MarkState", "Marks"]


MarkState = Literal["ok", "partly", "failed", "cancelled", "running"]
STATE_WORDS: dict[MarkState, str] = {
    "ok": "ok",
    "partly": "some failed",
    "failed": "failed",
    "cancelled": "cancelled",
    "running": "running",
}
"""How each of them is said."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What happened at one node.

    Attributes:
        state: "ok", "partly" (some of its items or visits failed), "failed", "cancelled", or "running".
        notes: What to say of it, each a short text: "3 visits", "48/50 ok".
    """

    state: MarkState
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Marks:
    """What happened in one run of a flow.

    Attributes:
        nodes: By the id of the node. One that is not there was not visited.
        edges: How often a walk went from one step to the next, by their ids and the action; from a flow to its first
            step, where it began, with the action "", and from a step to the flow around it, where it ended.
        notes: What the drawing does not show, in sentences.
    """

    nodes: Mapping[str, Mark] = field(default_factory=dict)
    edges: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
