"""Builds the graph of a flow. It only reads the flow: no hook and no other user code runs, except ``style``."""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from types import FunctionType
from typing import Any

from ..core.errors import SettingError, SignatureError
from ..core.hooks import hooks_of
from ..core.node import BaseNode, kind_of, label
from ..core.settings import is_whole
from ..core.text import quoted
from ..core.traversal import depth_first
from .check import check
from .drawing import GraphModel
from .model import GraphCluster, GraphEdge, GraphExit, GraphNode
from .places import Place, places
from .returns import ReturnedActions
from .style import GraphStyle, checked_style

__all__ = ["StyleFunction", "graph_of"]

StyleFunction = Callable[[GraphNode], Mapping[str, str] | None]
"""Chooses how one node is drawn, see `Flow.graph`."""


def graph_of(
    node: BaseNode,
    *,
    max_nodes: int = 2_000,
    depth: int | None = None,
    direction: str | None = None,
    legend: bool = False,
    style: StyleFunction | None = None,
    closed: Collection[str] = (),
) -> GraphModel:
    """Return the graph of a flow, or of a node and all nodes that it leads to.

    A flow that is used in two places appears twice. A flow that contains itself is marked and not followed again.

    Args:
        node: The flow or the node.
        max_nodes: The largest number of nodes. Outer flows are opened first; flows that would exceed the number stay
            closed. A flow used in several flows is counted each time, so a graph can be far larger than its code.
        depth: How many levels of flows within flows are opened; None: all.
        direction: "LR" draws from left to right, "TB" from top to bottom. None: the one that fits a cell.
        legend: Whether the drawing explains its signs.
        style: Called here once with each `GraphNode`; see `Flow.graph`.
        closed: The ids of flows to leave closed; each is then one box.

    Raises:
        SettingError: ``depth`` is below 0, the direction is unknown, or ``style`` returned an invalid colour or width.
    """
    if depth is not None and (not is_whole(depth) or depth < 0):
        raise SettingError(
            f"graph(depth={quoted(depth)}): depth must be 0 (the flow itself, closed) or more, or None for all."
        )
    if direction not in (None, "LR", "TB"):
        raise SettingError(
            f"graph(direction={quoted(direction)}): it must be 'LR' (left to right), 'TB' (top to bottom), or None."
        )
    model = _Builder(max_nodes, depth, closed).build(node)
    colours = {} if style is None else {step.id: checked_style(step.id, style(step)) for step in model.nodes}
    colours = {id: attributes for id, attributes in colours.items() if attributes}
    return replace(model, style=GraphStyle(direction, legend, colours))


class _Builder:
    """Collects the parts of a graph, flow by flow, the outer ones first."""

    def __init__(self, max_nodes: int, depth: int | None, closed: Collection[str]) -> None:
        self.max_nodes = max_nodes
        self.depth = depth
        self.closed = closed
        self.nodes: dict[str, GraphNode] = {}
        self.edges: list[GraphEdge] = []
        self.returned = ReturnedActions()

    def build(self, root: BaseNode) -> GraphModel:
        clusters = []
        for place in places(root):
            if place.flow is None:
                place.open()
                self.add_steps(place)
                continue
            if place.flow is root and not place.around:
                self.nodes[place.path] = _graph_node(root, place.path, label(root), None)
            clusters.append(self.cluster(place, place.flow))
        problems = check(root, self.returned)
        return GraphModel(tuple(self.nodes.values()), tuple(self.edges), tuple(clusters), tuple(problems))

    def cluster(self, place: Place, flow: BaseNode) -> GraphCluster:
        """Add the steps of a flow and return its cluster. It has no members if they are left out."""
        if place.start is None or place.repeats is not None:
            return GraphCluster(place.path, repeats=place.repeats)
        if place.path in self.closed or (self.depth is not None and len(place.around) >= self.depth):
            return GraphCluster(place.path, is_closed=True)
        place.open()
        if len(self.nodes) > 1 and len(self.nodes) + len(place.steps) > self.max_nodes:
            place.close()
            return GraphCluster(place.path, is_closed=True)
        ids = self.add_steps(place)
        exits = list(self.exits(place, ids))
        if not exits and (place.leads_on or flow.successors):
            # Edges lead on from it, so it ends after a step whose actions are not all known: probably the last one.
            unknown = [step for step in place.steps if not self.returned.of(step).is_complete]
            exits = [GraphExit(place.path_of(step)) for step in unknown[-1:]]
        return GraphCluster(place.path, ids[0], tuple(ids), tuple(exits), tuple(sorted(place.leads_on)))

    def add_steps(self, place: Place) -> list[str]:
        """Add the steps of a place and their edges; return the ids of the steps."""
        parent = None if place.flow is None else place.path
        ids = {id(step): place.path_of(step) for step in place.steps}
        # An edge leads back if its target is on the way from the start to its source, in the order of wiring.
        found = depth_first(place.steps[0], _targets)
        back = {(id(way[-1]), id(target)) for way, target, is_back in found if is_back}
        for step in place.steps:
            path = ids[id(step)]
            self.nodes[path] = _graph_node(step, path, place.names[id(step)], parent)
            for action, target in step.successors.items():
                if target is not None:
                    is_back = (id(step), id(target)) in back
                    self.edges.append(GraphEdge(path, ids[id(target)], str(action), is_back))
        return list(ids.values())

    def exits(self, place: Place, ids: list[str]) -> Iterator[GraphExit]:
        """Yield the known exits of a flow."""
        for step, id in zip(place.steps, ids, strict=True):
            actions, edges = self.returned.of(step).actions, step.successors
            yield from (GraphExit(id, str(action)) for action, target in edges.items() if target is None)
            for action in actions if edges else actions or (None,):
                if action not in edges:
                    yield GraphExit(id, action, not edges or action in place.leads_on)


def _targets(node: BaseNode) -> list[BaseNode]:
    return [target for target in node.successors.values() if target is not None]


# ---- one node --------------------------------------------------------------------------------------------------------


def _graph_node(node: BaseNode, id: str, name: str, parent: str | None) -> GraphNode:
    cls, kind = type(node), kind_of(node)
    return GraphNode(
        id=id,
        name=name,
        class_name=cls.__name__,
        kind=kind,
        doc=_doc(cls),
        is_async=_is_async(node),
        retries=_setting(node, "max_retries"),
        concurrency=_setting(node, "max_concurrency") if kind in ("batch_node", "batch_flow") else 1,
        parent=parent,
        location=_location(cls),
    )


def _location(cls: type) -> str:
    """Return the module and the line of the first method. Not the path of the file, which differs by machine."""
    if "_library_class" in vars(cls) or cls.__module__ in ("__main__", "builtins"):  # the latter: in a cell
        return ""
    codes = [value.__code__ for value in vars(cls).values() if isinstance(value, FunctionType)]
    lines = [code.co_firstlineno for code in codes if not code.co_filename.startswith("<")]
    return f"{cls.__module__}:{min(lines)}" if lines else ""


def _doc(cls: type) -> str:
    """Return the first line of the docstring of the user's class, or of its nearest base with one."""
    for base in cls.__mro__:
        own = vars(base)
        if "_library_class" in own or not hasattr(base, "_kind"):
            continue
        if isinstance(own.get("__doc__"), str) and own["__doc__"].strip():
            return str(own["__doc__"].strip().splitlines()[0].strip())
    return ""


def _is_async(node: BaseNode) -> bool:
    try:
        hooks = hooks_of(node)
    except SignatureError:  # a hook was replaced by one that cannot be called: a run reports it
        return False
    names = [getattr(hooks, role) for role in ("prep", "exec", "post") if role in hooks.own]
    return any(inspect.iscoroutinefunction(vars(node).get(name) or getattr(type(node), name)) for name in names)


def _setting(node: BaseNode, name: str) -> Any:
    """Return a setting as the engine obeys it: in some dialects only the class decides."""
    is_obeyed = name in type(node)._dialect.settings
    value = getattr(node if is_obeyed else type(node), name, 1)
    return value if value is None else int(value) if is_whole(value) else 1
