"""What happened to the nodes and edges of a graph, for who draws it: plain data, whoever it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Mark", "MarkState", "Marks"]


MarkState = Literal["ok", "partly", "failed", "cancelled", "running"]


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
        edges: How often a walk went from one step to the next, by their ids; from a flow to its first step, where it
            began, and from a step to the flow around it, where it ended.
    """

    nodes: Mapping[str, Mark] = field(default_factory=dict)
    edges: Mapping[tuple[str, str], int] = field(default_factory=dict)
