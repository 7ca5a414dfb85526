"""A graph as plain data: its nodes, its edges, and which nodes lie within which flow. All writers start from it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from ..core.traversal import FLOWS
from .check import Problem
from .status import RunStatus
from .style import GraphStyle

__all__ = ["FLOWS", "PLAIN_CLASS", "GraphCluster", "GraphData", "GraphEdge", "GraphExit", "GraphNode", "Note"]

PLAIN_CLASS = {"node": "Node", "batch_node": "BatchNode", "flow": "Flow", "batch_flow": "BatchFlow"}
_FOR_EACH = {"batch_node": "for each item", "batch_flow": "for each param set"}


class Note(NamedTuple):
    """A few words to show with a node, and what they are about."""

    kind: Literal["class", "each", "concurrency", "retries", "async"]
    text: str


@dataclass(frozen=True, slots=True)
class GraphNode:
    """A node or a flow at one place of the graph.

    Attributes:
        id: Its path: names from the outermost flow down, joined by "/", as in errors and records.
        name: Its name among the steps of its flow.
        class_name: The name of its class.
        kind: "node", "batch_node", "flow" or "batch_flow".
        doc: The first line of the docstring of the user's class; "" without one.
        is_async: Whether a hook of the user's class is ``async def``.
        retries: The number of attempts of ``exec``.
        concurrency: The number of items or param sets in flight at once; None if unlimited.
        parent: The id of the flow that it is a step of; None at the top.
        location: Where its class is defined, as "module:line"; "" for a class from a notebook cell.
    """

    id: str
    name: str
    class_name: str
    kind: str
    doc: str = ""
    is_async: bool = False
    retries: int = 1
    concurrency: int | None = 1
    parent: str | None = None
    location: str = ""

    @property
    def notes(self) -> tuple[Note, ...]:
        """Notes to show with the node: its class, what it runs for each of, attempts, async."""
        notes = []
        if self.class_name not in (self.name.partition("#")[0], PLAIN_CLASS[self.kind]):
            notes.append(Note("class", self.class_name))
        if self.kind in _FOR_EACH:
            notes.append(Note("each", _FOR_EACH[self.kind]))
            if self.concurrency != 1:
                many = "all at once" if self.concurrency is None else f"{self.concurrency} at a time"
                notes.append(Note("concurrency", many))
        if self.retries != 1:
            notes.append(Note("retries", f"up to {self.retries} attempts"))
        if self.is_async:
            notes.append(Note("async", "async"))
        return tuple(notes)


@dataclass(frozen=True, slots=True)
class GraphEdge:
    """An edge between two steps of the same flow.

    Attributes:
        source: The id of the step that returns the action.
        target: The id of the next step.
        action: The action that chooses this edge.
        is_back: Whether it closes a loop: it leads to a step on the way from the start to its source.
    """

    source: str
    target: str
    action: str
    is_back: bool = False


@dataclass(frozen=True, slots=True)
class GraphExit:
    """A step after which a flow can end.

    Attributes:
        source: The id of the step.
        action: The action that ends the flow; None if unknown.
        is_meant: False if the step has edges but none for this action, and no flow around it has one.
    """

    source: str
    action: str | None = None
    is_meant: bool = True


@dataclass(frozen=True, slots=True)
class GraphCluster:
    """The inside of a flow.

    Attributes:
        id: The id of the flow.
        start: The id of its first step; None if the flow has none, or is closed.
        members: The ids of its steps, in breadth-first order from the start.
        exits: The known exits; ``post`` may compute other actions.
        leads_on: The actions for which this flow or an outer flow has an edge. A step needs no edge for them.
        repeats: The id of the outer flow that this one repeats; None in a valid flow. A flow that repeats cannot run.
        is_closed: Whether its steps were left out: the graph is too large, or the caller of `graph_of` chose so.
    """

    id: str
    start: str | None = None
    members: tuple[str, ...] = ()
    exits: tuple[GraphExit, ...] = ()
    leads_on: tuple[str, ...] = ()
    repeats: str | None = None
    is_closed: bool = False

    @property
    def why_empty(self) -> str:
        """The reason why there are no members, in words; "" if there are some."""
        if self.members:
            return ""
        if self.repeats is not None:
            return "contains itself"
        return "steps not shown" if self.is_closed else "no start node"


@dataclass(frozen=True, slots=True)
class GraphData:
    """A flow as a graph: the input of every writer.

    Attributes:
        nodes: Nodes and flows, the outer before the inner ones.
        edges: In the order of their sources, and for each source in the order in which they were wired.
        clusters: One for every flow among the nodes, in the same order.
        problems: Probable mistakes in the wiring, see `Flow.check`.
        style: How it is drawn.
        status: What happened in a run; None for a graph without a run.
    """

    nodes: tuple[GraphNode, ...]
    edges: tuple[GraphEdge, ...] = ()
    clusters: tuple[GraphCluster, ...] = ()
    problems: tuple[Problem, ...] = ()
    style: GraphStyle = field(default_factory=GraphStyle)
    status: RunStatus | None = None

    def walk(self) -> Iterator[tuple[GraphNode, int, bool]]:
        """Yield every node with its depth, before and after its steps: with False, then with True."""
        nodes = {node.id: node for node in self.nodes}
        members = {cluster.id: cluster.members for cluster in self.clusters}
        stack = [(node, 0, False) for node in reversed(self.nodes) if node.parent is None]
        while stack:
            node, depth, is_end = stack.pop()
            yield node, depth, is_end
            if not is_end:
                stack.append((node, depth, True))
                stack.extend((nodes[id], depth + 1, False) for id in reversed(members.get(node.id, ())))
