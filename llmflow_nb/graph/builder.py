"""Builds the graph of a flow. It only reads the flow: no hook and no other user code runs, except ``style``."""

import inspect
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import FunctionType
from typing import Any

from ..core.errors import SettingError, SignatureError
from ..core.hooks import hooks_of
from ..core.node import BaseNode, kind_of, label
from ..core.settings import is_whole
from ..core.text import quoted
from ..core.traversal import names_of, path_part, reachable
from .check import check
from .drawing import GraphModel
from .model import FLOWS, GraphCluster, GraphEdge, GraphExit, GraphNode
from .returns import ReturnedActions, edges_further_out
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
    model = _Builder(max_nodes, depth).build(node)
    colours = {} if style is None else {step.id: checked_style(step.id, style(step)) for step in model.nodes}
    colours = {id: attributes for id, attributes in colours.items() if attributes}
    return replace(model, style=GraphStyle(direction, legend, colours))


@dataclass(frozen=True, slots=True, eq=False)
class _FlowPlace:
    """A flow at one place of the graph."""

    flow: BaseNode
    id: str
    outer: "_FlowPlace | None"

    def around(self) -> "list[_FlowPlace]":
        """Return the places of the flows around it, the innermost first."""
        places = []
        place = self.outer
        while place is not None:
            places.append(place)
            place = place.outer
        return places


class _Builder:
    """Collects the parts of a graph, flow by flow, the outer ones first."""

    def __init__(self, max_nodes: int, depth: int | None) -> None:
        self.max_nodes = max_nodes
        self.depth = depth
        self.nodes: dict[str, GraphNode] = {}
        self.edges: list[GraphEdge] = []
        self.clusters: list[GraphCluster] = []
        self.to_open: deque[_FlowPlace] = deque()
        self.returned = ReturnedActions()

    def build(self, root: BaseNode) -> GraphModel:
        if kind_of(root) in FLOWS:
            self.add(root, label(root), None)
        else:
            self.add_steps(reachable(root), None)
        while self.to_open:
            self.open(self.to_open.popleft())
        return GraphModel(tuple(self.nodes.values()), tuple(self.edges), tuple(self.clusters), tuple(check(root)))

    def add(self, node: BaseNode, name: str, outer: _FlowPlace | None) -> str:
        """Add one node and return its id."""
        id = path_part(name) if outer is None else f"{outer.id}/{path_part(name)}"
        self.nodes[id] = _graph_node(node, id, name, None if outer is None else outer.id)
        if kind_of(node) in FLOWS:
            self.to_open.append(_FlowPlace(node, id, outer))
        return id

    def open(self, place: _FlowPlace) -> None:
        """Add the steps of a flow, or a cluster without members if they are left out."""
        start: BaseNode | None = getattr(place.flow, "start_node", None)
        around = place.around()
        repeats = next((outer.id for outer in around if outer.flow is place.flow), None)
        if start is None or repeats is not None:
            self.clusters.append(GraphCluster(place.id, repeats=repeats))
            return
        steps = reachable(start)
        is_too_deep = self.depth is not None and len(around) >= self.depth
        is_too_large = len(self.nodes) > 1 and len(self.nodes) + len(steps) > self.max_nodes
        if is_too_deep or is_too_large:
            self.clusters.append(GraphCluster(place.id, is_closed=True))
            return
        ids = self.add_steps(steps, place)
        leads_on = edges_further_out([outer.flow for outer in (*reversed(around), place)])
        exits = self.exits(steps, ids, leads_on, must_end=bool(leads_on or place.flow.successors))
        self.clusters.append(GraphCluster(place.id, ids[0], tuple(ids), exits, tuple(sorted(leads_on))))

    def add_steps(self, steps: list[BaseNode], outer: _FlowPlace | None) -> list[str]:
        """Add the steps of a flow, of which the first is the start, and their edges; return their ids."""
        names = names_of(steps)
        ids = {id(step): self.add(step, names[id(step)], outer) for step in steps}
        back = _back_edges(steps[0])
        for step in steps:
            for action, target in step.successors.items():
                if target is not None:
                    is_back = (id(step), id(target)) in back
                    self.edges.append(GraphEdge(ids[id(step)], ids[id(target)], str(action), is_back))
        return list(ids.values())

    def exits(
        self, steps: list[BaseNode], ids: list[str], leads_on: set[str], *, must_end: bool
    ) -> tuple[GraphExit, ...]:
        """Return the exits of a flow with these steps. ``must_end``: edges lead on from it, so it has an exit."""
        exits: list[GraphExit] = []
        for step, id in zip(steps, ids, strict=True):
            found, edges = self.returned.of(step), step.successors
            if edges:
                exits += [GraphExit(id, str(action)) for action, target in edges.items() if target is None]
                exits += [GraphExit(id, action, action in leads_on) for action in found.actions if action not in edges]
            else:
                exits += [GraphExit(id, action) for action in found.actions or (None,)]
        if not exits and must_end:  # it ends after a step whose actions are not all known: probably the last one
            unknown = [id for step, id in zip(steps, ids, strict=True) if not self.returned.of(step).is_complete]
            exits += [GraphExit(id) for id in unknown[-1:]]
        return tuple(exits)


def _back_edges(start: BaseNode) -> set[tuple[int, int]]:
    """Return the edges that lead back to a step on the way from the start, in a depth-first search in wiring order."""
    back: set[tuple[int, int]] = set()
    done: set[int] = set()
    open_ids = {id(start)}
    stack = [(start, _targets(start))]
    while stack:
        node, rest = stack[-1]
        target = next(rest, None)
        if target is None:
            stack.pop()
            open_ids.discard(id(node))
            done.add(id(node))
        elif id(target) in open_ids:
            back.add((id(node), id(target)))
        elif id(target) not in done:
            open_ids.add(id(target))
            stack.append((target, _targets(target)))
    return back


def _targets(node: BaseNode) -> Iterator[BaseNode]:
    return iter([target for target in node.successors.values() if target is not None])


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
    lines = [
        value.__code__.co_firstlineno
        for value in vars(cls).values()
        if isinstance(value, FunctionType) and not value.__code__.co_filename.startswith("<")
    ]
    is_in_cell = cls.__module__ in ("__main__", "builtins")
    return "" if is_in_cell or not lines or "_library_class" in vars(cls) else f"{cls.__module__}:{min(lines)}"


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
    names = {"prep": hooks.prep, "exec": hooks.exec, "post": hooks.post}
    methods = [
        vars(node).get(name) or getattr(type(node), name, None) for role, name in names.items() if role in hooks.own
    ]
    return any(inspect.iscoroutinefunction(method) for method in methods)


def _setting(node: BaseNode, name: str) -> Any:
    """Return a setting as the engine obeys it: in some dialects only the class decides."""
    is_obeyed = name in type(node)._dialect.settings
    value = getattr(node if is_obeyed else type(node), name, 1)
    return value if value is None else int(value) if is_whole(value) else 1
