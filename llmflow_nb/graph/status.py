"""What happened to the nodes and edges of a graph in a run: plain data for writers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..core.text import shown

__all__ = ["STATE_WORDS", "NodeState", "NodeStatus", "RunStatus"]

NodeState = Literal["ok", "partly", "failed", "cancelled", "running"]
STATE_WORDS: dict[NodeState, str] = {
    "ok": "ok",
    "partly": "some failed",
    "failed": "failed",
    "cancelled": "cancelled",
    "running": "running",
}
"""The words that show each state."""


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What happened at one node.

    Attributes:
        state: "ok", "partly" (some of its items or visits failed), "failed", "cancelled", or "running".
        notes: Short texts to show with it, such as "3 visits" or "48/50 ok".
    """

    state: NodeState
    notes: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        """The state and the notes, safe to show."""
        return [STATE_WORDS[self.state], *map(shown, self.notes)]


@dataclass(frozen=True, slots=True)
class RunStatus:
    """What happened in one run of a flow.

    Attributes:
        nodes: The status of each node by its id. A node that is missing was not visited.
        edges: How often the run went from one step to the next, by their ids and the action. The start of a flow is the
            edge from the flow to its first step with the action "". The end is the edge from a step to its flow.
        notes: Sentences about what the drawing does not show.
    """

    nodes: Mapping[str, NodeStatus] = field(default_factory=dict)
    edges: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
