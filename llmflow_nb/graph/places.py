"""The flows within a flow, one after the other: the walk that the graph and the check of the wiring share."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..core.node import BaseNode, kind_of, label
from ..core.traversal import FLOWS, names_of, path_part, reachable
from .returns import returns_last_action

__all__ = ["Place", "node_at", "places"]


@dataclass(slots=True, eq=False)
class Place:
    """A flow at one place, with its steps once it is open.

    Attributes:
        flow: The flow; None for a node outside of flows, with the nodes that it leads to.
        path: The names from the outermost flow down, joined by "/"; "" without a flow.
        start: The first step; None if the flow has none.
        around: The places of the flows around it, the outermost first.
        steps: Its steps, in breadth-first order from the start.
        names: Their names, by their ``id``.
        leads_on: The actions that need no edge on a step, since a flow that ends with the step has an edge for them.
    """

    flow: BaseNode | None
    path: str
    start: BaseNode | None
    around: "tuple[Place, ...]" = ()
    steps: list[BaseNode] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    leads_on: set[str] = field(default_factory=set)

    @property
    def repeats(self) -> str | None:
        """The path of the outer flow that this one repeats; None in a valid flow."""
        return next((outer.path for outer in reversed(self.around) if outer.flow is self.flow), None)

    def open(self) -> None:
        """Find the steps, if there is a start. `places` then yields the flows among them."""
        self.steps = reachable(self.start)
        self.names = names_of(self.steps)
        for outer in (self, *reversed(self.around)):
            if outer.flow is None or not returns_last_action(outer.flow):
                break
            self.leads_on |= outer.flow.successors.keys()

    def close(self) -> None:
        """Leave the steps out again."""
        self.steps = []

    def path_of(self, step: BaseNode) -> str:
        """Return the path of a step."""
        name = path_part(self.names[id(step)])
        return name if self.flow is None else f"{self.path}/{name}"


def places(root: BaseNode) -> Iterator[Place]:
    """Yield the place of a flow, and those of all flows in it, the outer ones first.

    A flow in two places comes twice. Only the places that the caller opens are followed, so it chooses how far to go.
    """
    found = [_flow_at(root, path_part(label(root))) if kind_of(root) in FLOWS else Place(None, "", root)]
    for place in found:  # grows as it is read
        yield place
        around = place.around if place.flow is None else (*place.around, place)
        found += [_flow_at(step, place.path_of(step), around) for step in place.steps if kind_of(step) in FLOWS]


def node_at(root: BaseNode, path: str) -> BaseNode:
    """Return the node at a path.

    Raises:
        LookupError: There is none.
    """
    for place in places(root):
        if place.path == path and place.flow is not None:
            return place.flow
        if path.startswith(place.path) and place.start is not None and place.repeats is None:
            place.open()
            for step in place.steps:
                if place.path_of(step) == path:
                    return step
    raise LookupError(path)


def _flow_at(flow: BaseNode, path: str, around: tuple[Place, ...] = ()) -> Place:
    return Place(flow, path, getattr(flow, "start_node", None), around)
