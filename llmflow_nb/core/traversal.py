"""Find the nodes of a flow, name them, and check that it has a start and does not contain itself."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from operator import is_
from typing import Any

from .errors import WiringError, a_type
from .hooks import hooks_of
from .node import BaseNode, kind_of, label
from .text import quoted, shown

FLOWS = ("flow", "batch_flow")
_SLASH = "\N{DIVISION SLASH}"


def reachable(start: BaseNode | None) -> list[BaseNode]:
    """Return the nodes that can be reached from ``start`` along the edges, in breadth-first order, each once.

    Raises:
        WiringError: Code that writes into ``successors`` has made an edge to an object that is not a node.
    """
    found = [] if start is None else [start]
    seen = {id(start)}
    for node in found:  # it grows meanwhile
        for action, target in node.successors.items():
            if target is not None and id(target) not in seen:
                if getattr(type(target), "_kind", None) is None:
                    raise WiringError(
                        f"the edge {quoted(action)} of {shown(label(node))} leads to {a_type(target)}, "
                        "which is not a node."
                    )
                seen.add(id(target))
                found.append(target)
    return found


def within(root: BaseNode) -> list[BaseNode]:
    """Return a node and, if it is a flow, every node in it at any depth, each once."""
    return _gather(root)[0]


def _gather(root: BaseNode) -> tuple[list[BaseNode], dict[int, list[BaseNode]]]:
    """Return every node within a node, and for each flow among them its steps, by ``id`` of the flow."""
    nodes, seen = [root], {id(root)}
    steps_of: dict[int, list[BaseNode]] = {}
    for node in nodes:  # it grows meanwhile
        if kind_of(node) in FLOWS:
            steps = steps_of[id(node)] = reachable(node.start_node)  # type: ignore[attr-defined]
            for step in steps:
                if id(step) not in seen:
                    seen.add(id(step))
                    nodes.append(step)
    return nodes, steps_of


def names_of(nodes: list[BaseNode]) -> dict[int, str]:
    """Return ``{id(node): name}`` for the steps of one flow. A repeated name becomes ``Name#2``.

    The names are unique as parts of a path, also if a node has a name such as ``Name#2`` itself.
    """
    labels = [label(node) for node in nodes]
    parts = [path_part(name) for name in labels]
    given = set(parts)
    if len(given) == len(parts):
        return {id(node): name for node, name in zip(nodes, labels, strict=True)}
    names: dict[int, str] = {}
    taken: set[str] = set()
    numbers: dict[str, Iterator[int]] = defaultdict(lambda: itertools.count(2))
    for node, name, part in zip(nodes, labels, parts, strict=True):
        if part in taken:
            numbered = (f"{name}#{n}" for n in numbers[part])
            name = next(other for other in numbered if path_part(other) not in given and path_part(other) not in taken)
        taken.add(path_part(name))
        names[id(node)] = name
    return names


def path_part(name: str) -> str:
    """Return a name as a part of a path. "/" separates the names, so a "/" in a name becomes a similar character.

    >>> path_part("load/parse") == "load\N{DIVISION SLASH}parse"
    True
    """
    return name.replace("/", _SLASH)


def last_name(path: str) -> str:
    """Return the last name of a path, as the node has it."""
    return path.rpartition("/")[2].replace(_SLASH, "/")


class Survey:
    """The result of one pass over the wiring of a flow. It is valid until an edge, a start, a name or a class changes.

    Attributes:
        root: The node or flow that was surveyed.
        nodes: The root and every node in it at any depth, each once.
        names: The names of the steps of each flow, by ``id`` of the flow's start, then by ``id`` of the step.
        overwritten: The warnings of `BaseNode.next` about edges that were wired again to another target.
    """

    __slots__ = ("_flows", "_steps", "_targets", "names", "nodes", "overwritten", "root")

    def __init__(self, root: BaseNode, nodes: list[BaseNode], names: dict[int, dict[int, str]]) -> None:
        self.root = root
        self.nodes = nodes
        self.names = names
        self.overwritten = [text for node in nodes for text in node.overwritten]
        self._steps = [
            (node, type(node), node.name, node.overwritten, node.successors, len(node.successors)) for node in nodes
        ]
        self._flows: list[Any] = [node for node in nodes if node._kind in FLOWS]
        self._targets = [target for node in nodes for target in node.successors.values()]
        self._targets += [flow.start_node for flow in self._flows]

    def is_valid_for(self, root: BaseNode) -> bool:
        """Return whether a new pass over this node would find the same, in less than a tenth of its time."""
        if root is not self.root:
            return False
        targets: list[BaseNode | None] = []
        for node, cls, name, overwritten, edges, count in self._steps:  # every run asks: 0.2 us a node
            if (
                type(node) is not cls
                or node.name != name
                or node.overwritten is not overwritten
                or node.successors is not edges
                or len(edges) != count
            ):
                return False
            targets += edges.values()
        targets += [flow.start_node for flow in self._flows]
        return all(map(is_, targets, self._targets))  # by identity, since nodes may define ``==``


def survey(root: BaseNode) -> Survey:
    """Survey the wiring of a flow, and check that it can run.

    Raises:
        WiringError: A flow has no start, a flow contains itself, or an edge leads to an object that is not a node.
    """
    nodes, steps_of = _gather(root)
    _refuse_cycles(root, steps_of)
    names = {id(steps[0]): names_of(steps) for steps in steps_of.values() if steps}
    return Survey(root, nodes, names)


def _refuse_cycles(root: BaseNode, steps_of: dict[int, list[BaseNode]]) -> None:
    """Refuse a flow without a start, and a flow that is, at any depth, a step of itself.

    Raises:
        WiringError: It names the flow without a start, or the path from the flow that contains itself back to that
            flow.
    """

    def inner_flows(flow: BaseNode) -> list[BaseNode]:
        return [step for step in steps_of.get(id(flow), ()) if id(step) in steps_of]

    _check_start(root)
    for way, inner, is_back in depth_first(root, inner_flows):
        if is_back:
            cycle = way[next(i for i, flow in enumerate(way) if flow is inner) :]
            path = " > ".join(label(flow) for flow in (*cycle, inner))
            raise WiringError(
                f"{label(inner)} contains itself: {path}. Nothing was run; wire the inner step to another flow."
            )
        _check_start(inner, "".join(f"{path_part(label(flow))}/" for flow in way))


def depth_first(
    root: BaseNode, targets: Callable[[BaseNode], Iterable[BaseNode]]
) -> Iterator[tuple[list[BaseNode], BaseNode, bool]]:
    """Search depth-first, and yield each edge to a new node and each edge that leads back.

    Yields:
        The nodes from the root to the source of the edge, its target, and whether the target is one of these nodes.
    """
    way, rests = [root], [iter(targets(root))]
    on_way, seen = {id(root)}, {id(root)}
    while way:
        target = next(rests[-1], None)
        if target is None:
            rests.pop()
            on_way.discard(id(way.pop()))
        elif id(target) in on_way:
            yield way, target, True
        elif id(target) not in seen:
            yield way, target, False
            way.append(target)
            rests.append(iter(targets(target)))
            on_way.add(id(target))
            seen.add(id(target))


def _check_start(flow: BaseNode, path: str = "") -> None:
    """Refuse a flow without a start, unless it has its own prep, which may set the start."""
    if kind_of(flow) in FLOWS and flow.start_node is None and "prep" not in hooks_of(flow).own:  # type: ignore[attr-defined]
        raise no_start(flow, path + path_part(label(flow)))


def no_start(flow: BaseNode, path: str) -> WiringError:
    """Return the error for a flow without a start."""
    return WiringError(f"{path} has no start node; write {type(flow).__name__}(start=node) or flow.start(node).")
