"""A flow as plain data: its nodes, its edges, and which nodes lie within which flow.

What every writer (DOT, outline) starts from. Made by looking, never by calling: no hook runs, and no other code of the
user's.
"""

import inspect
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FunctionType
from typing import Any, ClassVar, Literal, NamedTuple

from ..core.doors import Shown
from ..core.errors import SettingError, SignatureError
from ..core.hooks import hooks_of
from ..core.node import BaseNode, kind_of, label
from ..core.settings import is_whole
from ..core.text import quoted, shown
from ..core.traversal import names_of, path_part, reachable
from .check import Problem, check
from .look import Look, Style, checked_style
from .returns import ReturnedActions, edges_further_out

__all__ = ["GraphCluster", "GraphEdge", "GraphExit", "GraphModel", "GraphNode", "Note", "graph_of"]

FLOWS = ("flow", "batch_flow")
PLAIN_CLASS = {"node": "Node", "batch_node": "BatchNode", "flow": "Flow", "batch_flow": "BatchFlow"}


@dataclass(frozen=True, slots=True)
class GraphNode:
    """A node or a flow at one place of the graph.

    Attributes:
        id: Its path: names from the outermost flow down, joined by "/", as in errors and records.
        name: What it is called among its neighbours.
        class_name: The name of its class.
        kind: "node", "batch_node", "flow" or "batch_flow".
        doc: The first line of the docstring of the user's class; "" where there is none.
        is_async: Whether a hook of the user's is ``async def``.
        retries: Attempts of ``exec`` in all.
        concurrency: Items or param sets in flight at once; None for no bound.
        parent: The id of the flow that it is a step of; None at the top.
        location: Where its class is written, as "module:line"; "" for one that was typed into a notebook.
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
    def notes(self) -> tuple["Note", ...]:
        """What else there is to say of the node, in words."""
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


class Note(NamedTuple):
    """One thing to say of a node: what it is about, and the words."""

    kind: Literal["class", "each", "concurrency", "retries", "async"]
    text: str


_FOR_EACH = {"batch_node": "for each item", "batch_flow": "for each param set"}


@dataclass(frozen=True, slots=True)
class GraphEdge:
    """An edge between two steps of the same flow.

    Attributes:
        source: The id of the step whose action is meant.
        target: The id of the step that comes next.
        action: The action that chooses this edge.
        is_back: Whether it closes a loop: a walk from the start can come this way to a step that it has passed.
    """

    source: str
    target: str
    action: str
    is_back: bool = False


@dataclass(frozen=True, slots=True)
class GraphExit:
    """A way out of a flow: a step after which it can end.

    Attributes:
        source: The id of the step.
        action: The action that ends the flow; None where it is not known.
        is_meant: False where the step has edges, and neither it nor a flow around it has one for this action.
    """

    source: str
    action: str | None = None
    is_meant: bool = True


@dataclass(frozen=True, slots=True)
class GraphCluster:
    """The inside of a flow.

    Attributes:
        id: The id of the flow.
        start: The id of its first step; None where the flow has none, or is closed.
        members: The ids of its steps, in breadth-first order from the start.
        exits: The ways out of it that are seen; ``post`` may compute others.
        leads_on: The actions that lead on, from it or from a flow further out, when a step in it has no edge for them.
        repeats: The id of the flow further out that this one is again; None in a sound flow. Such a flow cannot run.
        is_closed: Whether its steps were left out because there are too many.
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
        """Why there are no members, in words; "" where there are some."""
        if self.members:
            return ""
        if self.repeats is not None:
            return "contains itself"
        return "steps not shown" if self.is_closed else "no start node"


@dataclass(frozen=True, slots=True, repr=False)
class GraphModel(Shown):
    """A flow as a graph. As the last line of a cell it shows the drawing.

    Attributes:
        nodes: Nodes and flows, the outer before the inner ones.
        edges: In the order of their sources, and for each source in the order in which they were wired.
        clusters: One for every flow among the nodes, in the same order.
        problems: What is probably not meant in the wiring, see `Flow.check`.
        look: How it is drawn.
    """

    nodes: tuple[GraphNode, ...]
    edges: tuple[GraphEdge, ...] = ()
    clusters: tuple[GraphCluster, ...] = ()
    problems: tuple[Problem, ...] = ()
    look: Look = field(default_factory=Look)

    _shown_as: ClassVar[str] = "model"

    def dot(self) -> str:
        """Return the graph in the DOT language."""
        from .dot import dot_of

        return dot_of(self)

    def mermaid(self) -> str:
        """Return the graph in the language of Mermaid, for a README or a wiki. Nothing here draws that."""
        from .mermaid import mermaid_of

        return mermaid_of(self)

    def outline(self) -> str:
        """Return the graph as indented text, fit to be read aloud."""
        from .outline import outline_of

        return outline_of(self)

    def svg(self, *, backend: str | None = None) -> str:
        """Return the drawing, as an ``<svg>`` element that refers to nothing outside itself.

        Args:
            backend: What draws: "dot" (the program of Graphviz), "wasi" (Graphviz as WebAssembly), or "auto", which
                takes the first that is there. None: what ``LLMFLOW_NB_GRAPHVIZ`` says, else "auto".

        Raises:
            ValueError: No such backend.
            DrawingError: There is nothing to draw with, or it gave up; says what to do.
        """
        from .svg import svg_of

        return svg_of(self, backend)

    def save(self, path: str | Path) -> Path:
        """Write the graph to a file, in the form that its name asks for, and return its path.

        ``.svg``, ``.dot``, ``.mmd`` (Mermaid) and ``.txt`` (the outline) are written anywhere; ``.png`` and ``.pdf``
        are drawn by the ``dot`` program of Graphviz. A file that is there is replaced.

        Raises:
            ValueError: The name ends in something else.
            DrawingError: There is nothing to draw with.
        """
        from .save import save

        return save(self, Path(path))

    @property
    def source(self) -> Any:
        """The graph as a ``graphviz.Source``, for those who know that package."""
        from graphviz import Source

        return Source(self.dot())

    def walk(self) -> Iterator[tuple[GraphNode, int]]:
        """Yield every node with its depth; the steps of a flow come right after the flow."""
        nodes = {node.id: node for node in self.nodes}
        members = {cluster.id: cluster.members for cluster in self.clusters}
        stack = [(node, 0) for node in reversed(self.nodes) if node.parent is None]
        while stack:
            node, depth = stack.pop()
            yield node, depth
            stack.extend((nodes[id], depth + 1) for id in reversed(members.get(node.id, ())))

    def __repr__(self) -> str:
        """Say what it is a graph of, and its size."""
        return f"<GraphModel of {shown(self.nodes[0].name)}: {len(self.nodes)} nodes, {len(self.edges)} edges>"


def graph_of(
    node: BaseNode,
    *,
    max_nodes: int = 2_000,
    depth: int | None = None,
    direction: str | None = None,
    legend: bool = False,
    style: Style | None = None,
) -> GraphModel:
    """Return the graph of a flow, or of a node and all that it is wired to.

    A flow that is used in two places is there twice. A flow that contains itself is marked and not followed again.

    Args:
        node: The flow or the node.
        max_nodes: Inner flows are opened, the outer ones first, as long as there are at most so many nodes; the others
            are left closed. Flows used in several flows multiply, so a graph can be far larger than its code.
        depth: How many levels of flows within flows are opened; None: all.
        direction: "LR" is drawn from left to right, "TB" from top to bottom. None: as it fits a cell.
        legend: Whether the drawing says what its signs stand for.
        style: Called here, once with each `GraphNode`; see `Flow.graph`.

    Raises:
        SettingError: ``depth`` is below 0, another direction, or what ``style`` returned is no colour or width.
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
    colours = {id: looks for id, looks in colours.items() if looks}
    return replace(model, look=Look(direction, legend, colours))


class _Builder:
    """Collects the parts of a model, flow by flow, the outer ones first."""

    def __init__(self, max_nodes: int, depth: int | None) -> None:
        self.max_nodes = max_nodes
        self.depth = depth
        self.nodes: dict[str, GraphNode] = {}
        self.edges: list[GraphEdge] = []
        self.clusters: list[GraphCluster] = []
        self.to_open: deque[_Place] = deque()
        self.returned = ReturnedActions()

    def build(self, root: BaseNode) -> GraphModel:
        if kind_of(root) in FLOWS:
            self.add(root, label(root), None)
        else:
            self.add_steps(root, None)
        while self.to_open:
            self.open(self.to_open.popleft())
        return GraphModel(tuple(self.nodes.values()), tuple(self.edges), tuple(self.clusters), tuple(check(root)))

    def add(self, node: BaseNode, name: str, outer: "_Place | None") -> str:
        """Add one node and return its id."""
        id = path_part(name) if outer is None else f"{outer.id}/{path_part(name)}"
        self.nodes[id] = _node(node, id, name, None if outer is None else outer.id)
        if kind_of(node) in FLOWS:
            self.to_open.append(_Place(node, id, outer))
        return id

    def open(self, flow: "_Place") -> None:
        start = getattr(flow.node, "start_node", None)
        repeats = next((outer.id for outer in flow.outside() if outer.node is flow.node), None)
        if start is None or repeats is not None:
            self.clusters.append(GraphCluster(flow.id, repeats=repeats))
        elif (self.depth is not None and len(list(flow.outside())) >= self.depth) or (
            len(self.nodes) > 1 and len(self.nodes) + len(reachable(start)) > self.max_nodes
        ):
            self.clusters.append(GraphCluster(flow.id, is_closed=True))
        else:
            ids = self.add_steps(start, flow)
            leads_on = edges_further_out([place.node for place in (*reversed(list(flow.outside())), flow)])
            exits = self.exits(start, ids, leads_on, must_end=bool(leads_on or flow.node.successors))
            self.clusters.append(GraphCluster(flow.id, ids[0], tuple(ids), exits, tuple(sorted(leads_on))))

    def add_steps(self, start: BaseNode, outer: "_Place | None") -> list[str]:
        """Add what is reached from ``start`` along the edges, with the edges, and return the ids."""
        steps = reachable(start)
        names = names_of(steps)
        ids = {id(step): self.add(step, names[id(step)], outer) for step in steps}
        back = _back_edges(start)
        for step in steps:
            for action, target in step.successors.items():
                if target is None:
                    continue
                is_back = (id(step), id(target)) in back
                self.edges.append(GraphEdge(ids[id(step)], ids[id(target)], str(action), is_back))
        return list(ids.values())

    def exits(self, start: BaseNode, ids: list[str], leads_on: set[str], *, must_end: bool) -> tuple[GraphExit, ...]:
        """Return the ways out of a flow, of whose steps these are the ids."""
        exits: list[GraphExit] = []
        steps = reachable(start)
        for step, id in zip(steps, ids, strict=True):
            found, edges = self.returned.of(step), step.successors
            if edges:
                exits += [GraphExit(id, str(name)) for name, target in edges.items() if target is None]
                exits += [GraphExit(id, name, name in leads_on) for name in found.actions if name not in edges]
            else:
                exits += [GraphExit(id, name) for name in found.actions or (None,)]
        if not exits and must_end:  # there are ways on, so it ends: after the last step of which not all is known
            unknown = [id for step, id in zip(steps, ids, strict=True) if not self.returned.of(step).is_complete]
            exits += [GraphExit(id) for id in unknown[-1:]]
        return tuple(exits)


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """A flow at one place of the graph, with the flows around it."""

    node: BaseNode
    id: str
    outer: "_Place | None"

    def outside(self) -> Iterator["_Place"]:
        place = self.outer
        while place is not None:
            yield place
            place = place.outer


def _node(node: BaseNode, id: str, name: str, parent: str | None) -> GraphNode:
    cls, kind = type(node), kind_of(node)
    return GraphNode(
        id=id,
        name=name,
        class_name=cls.__name__,
        kind=kind,
        doc=_doc(cls),
        is_async=_is_async(node),
        retries=_setting(node, "max_retries"),
        concurrency=_setting(node, "max_concurrency") if kind in _FOR_EACH else 1,
        parent=parent,
        location=_location(cls),
    )


def _location(cls: type) -> str:
    """Where the first method of a class is written. Not where that file is, which is the machine's affair."""
    lines = [
        value.__code__.co_firstlineno
        for value in vars(cls).values()
        if isinstance(value, FunctionType) and not value.__code__.co_filename.startswith("<")
    ]
    is_typed_in = cls.__module__ in ("__main__", "builtins")
    return "" if is_typed_in or not lines or "_library_class" in vars(cls) else f"{cls.__module__}:{min(lines)}"


def _doc(cls: type) -> str:
    """The first line of the docstring nearest in the user's own node classes."""
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
    except SignatureError:  # a hook was replaced by one that cannot be called: the run will say so
        return False
    names = {"prep": hooks.prep, "exec": hooks.exec, "post": hooks.post}
    methods: Iterable[Any] = (
        vars(node).get(name) or getattr(type(node), name, None) for role, name in names.items() if role in hooks.own
    )
    return any(inspect.iscoroutinefunction(method) for method in methods)


def _setting(node: BaseNode, name: str) -> Any:
    """A setting as the engine obeys it: in some dialects the class decides."""
    obeyed = name in type(node)._dialect.settings
    value = getattr(node if obeyed else type(node), name, 1)
    return value if value is None else int(value) if is_whole(value) else 1


def _back_edges(start: BaseNode) -> set[tuple[int, int]]:
    """The edges that lead back to a node on the way, in a depth-first walk along the edges as they were wired."""
    back: set[tuple[int, int]] = set()
    done: set[int] = set()
    on_way = {id(start)}
    stack = [(start, _targets(start))]
    while stack:
        node, rest = stack[-1]
        target = next(rest, None)
        if target is None:
            stack.pop()
            on_way.discard(id(node))
            done.add(id(node))
        elif id(target) in on_way:
            back.add((id(node), id(target)))
        elif id(target) not in done:
            on_way.add(id(target))
            stack.append((target, _targets(target)))
    return back


def _targets(node: BaseNode) -> Iterator[BaseNode]:
    return iter([target for target in node.successors.values() if target is not None])
