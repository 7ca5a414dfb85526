"""What a drawing of a graph shows, without coordinates. `svg` and `dot` start from it.

Each step is a box. An open flow is a frame around its steps, with a dot at its start and a ring at its end. The words
of a drawing are here, and the signs that repeat what the colours say.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal

from ..core.text import shown
from .model import GraphCluster, GraphData, GraphExit, GraphNode
from .status import STATE_WORDS, NodeState, NodeStatus, RunStatus

__all__ = ["END", "SIGNS", "START", "TOP", "Box", "Sketch", "Wire", "is_ring", "sketch_of"]

START, END = "(start)", "(end)"
"""The ends of wires at the dot and at the ring of a flow. The id of a step is its path, which has no parentheses."""
FEW_EXITS, FEW_STEPS = 3, 14
"""A flow with more exits or steps has a ring for each exit, with a number after `END`. Long lines to one ring would
hide the rest. An exit for the lack of an edge always has its own."""
TOP = ""
"""Stands for the flow around the outermost nodes."""
LINE_LENGTH = 30
LEGEND_LENGTH = 90
BLANK = "\u00a0"
SIGNS = {"ok": "\u2713", "partly": "!", "failed": "\u2717", "cancelled": "\u2013", "running": "\u25b6"}
_ICONS = {"each": "\u2261 ", "retries": "\u21bb ", "async": "\u22ef "}  # three bars, a round arrow, three dots
_ICON_WORDS = {"each": "once for each", "retries": "attempts", "async": "async"}
# Problems that are shown on a node, with the words; others are shown on an edge, or below the drawing.
_REMARKS = {"unreachable": "never reached", "endless": "no way out", "no_start": "", "contains_itself": ""}
# By kind, and whether the steps of the flow are drawn.
_LEGEND = {
    ("node", False): "rounded box: node",
    ("batch_node", False): "box with depth: batch node",
    ("flow", True): "frame: flow",
    ("batch_flow", True): "double frame: batch flow",
    ("flow", False): "dashed box: flow, closed",
    ("batch_flow", False): "dashed box with depth: batch flow, closed",
}

BoxState = NodeState | Literal["unvisited"]


@dataclass(frozen=True, slots=True)
class Box:
    """A node or a flow.

    Attributes:
        key: Its id in the drawing: "n" and its index in the model. Never taken from a name.
        kind: As for `GraphNode`.
        lines: Its name, and below it the notes, the remark and the status.
        is_open: Whether it is a frame around its steps.
        is_closed: Whether it is a flow whose steps were left out, so that it can be opened.
        is_bare: Whether it is the outermost flow and has no name and no notes: a frame would add nothing.
        is_wrong: Whether the check of the wiring reports a problem that is shown on it.
        has_ring: Whether its end is drawn in DOT: an exit is drawn, or an edge leads on from the flow, which DOT draws
            from the ring.
        state: What happened to it in the run; None if the graph has no run.
        colours: DOT attributes chosen by the user.
        title: Its tooltip: its name and the first line of its docstring.
    """

    key: str
    kind: str
    lines: tuple[str, ...]
    is_open: bool = False
    is_closed: bool = False
    is_bare: bool = False
    is_wrong: bool = False
    has_ring: bool = False
    state: BoxState | None = None
    colours: Mapping[str, str] = field(default_factory=dict)
    title: str = ""

    @property
    def is_visited(self) -> bool:
        """Whether the run visited it."""
        return self.state not in (None, "unvisited")


@dataclass(frozen=True, slots=True)
class Wire:
    """An edge, the line from the start of a flow to its first step, or a line to its end.

    Attributes:
        key: Its id in the drawing.
        tail: The id of the step where it starts, or `START`.
        head: The id of the step where its arrow is, or that of a ring, see `is_ring`.
        label: Its words; "" for the default action.
        is_back: Whether it leads back to an earlier step.
        is_wrong: Whether the flow ends here because an edge is missing.
        is_unused: Whether ``post`` never returns its action.
        is_taken: Whether the run went this way.
    """

    key: str
    tail: str
    head: str
    label: str = ""
    is_back: bool = False
    is_wrong: bool = False
    is_unused: bool = False
    is_taken: bool = False


@dataclass(frozen=True, slots=True)
class Sketch:
    """What a drawing shows.

    Attributes:
        boxes: All boxes by the ids of their nodes, the outer before the inner ones.
        wires: The wires in each flow by its id; those between the outermost nodes by `TOP`.
        legend: The lines of the legend.
    """

    boxes: Mapping[str, Box]
    wires: Mapping[str, Sequence[Wire]]
    legend: tuple[str, ...] = ()


def is_ring(id: str) -> bool:
    """Return whether an end of a wire is a ring."""
    return id.startswith(END)


def sketch_of(model: GraphData) -> Sketch:
    """Return what a drawing of the graph shows."""
    clusters = {cluster.id: cluster for cluster in model.clusters}
    open_flows = {id for id, cluster in clusters.items() if cluster.members}
    exits = dict(_exits(model))
    left = {edge.source for edge in model.edges} | {exit.source for found in exits.values() for exit in found}
    rings = {id for id in open_flows if exits[id] or id in left}
    remarks: dict[str, str] = {}
    for problem in model.problems:
        if problem.kind in _REMARKS:
            remarks[problem.path] = remarks.get(problem.path) or _REMARKS[problem.kind]
    boxes = {}
    for i, node in enumerate(model.nodes):
        status = None if model.status is None else model.status.nodes.get(node.id)
        boxes[node.id] = Box(
            key=f"n{i}",
            kind=node.kind,
            lines=tuple(_lines(node, clusters.get(node.id), status, remarks.get(node.id, ""))),
            is_open=node.id in open_flows,
            is_closed=node.id in clusters and clusters[node.id].is_closed,
            is_bare=i == 0 and node.id in open_flows and _lines(node, None, None, "") == ["Flow"],
            is_wrong=node.id in remarks,
            has_ring=node.id in rings,
            state=None if model.status is None else "unvisited" if status is None else status.state,
            colours=model.style.colours.get(node.id, {}),
            title=": ".join(shown(part) for part in (node.name, node.doc) if part),
        )
    wires: dict[str, list[Wire]] = {id: [] for id in (TOP, *boxes)}
    for flow, wire in _wires(model, boxes, exits):
        wires[flow].append(wire)
    legend = tuple(_legend(model, boxes, [*chain(*wires.values())])) if model.style.legend else ()
    return Sketch(boxes, wires, legend)


def _lines(node: GraphNode, cluster: GraphCluster | None, status: NodeStatus | None, remark: str) -> list[str]:
    notes = [_ICONS.get(note.kind, "") + shown(note.text) for note in node.notes]
    if cluster is not None and not cluster.members:
        notes.append(cluster.why_empty)
    notes += [remark] if remark else []
    name, lines = shown(node.name), _filled(notes, LINE_LENGTH, ", ")
    if status is None:
        return [name, *lines]
    return [f"{SIGNS[status.state]} {name}", *lines, *map(shown, status.notes)]


def _filled(words: list[str], length: int, separator: str) -> list[str]:
    """Return the words in lines of about this length."""
    lines: list[str] = []
    for word in words:
        if not lines or len(lines[-1]) + len(word) > length:
            lines.append(word)
        else:
            lines[-1] += separator + word
    return lines


def _exits(model: GraphData) -> Iterator[tuple[str, list[GraphExit]]]:
    """Yield each flow with the exits to draw.

    The nodes of one class lack the same edges. Each of these is drawn once, and where the run took it.
    """
    taken = model.status.edges if model.status else {}
    classes = {node.id: node.class_name for node in model.nodes}
    known: set[tuple[str, str | None]] = set()
    for flow in model.clusters:
        found = []
        for exit in flow.exits:
            missing = classes[exit.source], exit.action
            if exit.is_meant or missing not in known or (exit.source, flow.id, exit.action) in taken:
                found.append(exit)
            if not exit.is_meant:
                known.add(missing)
        yield flow.id, found


def _wires(
    model: GraphData, boxes: Mapping[str, Box], exits: Mapping[str, Sequence[GraphExit]]
) -> Iterator[tuple[str, Wire]]:
    """Yield each wire with the id of its flow."""
    status = model.status or RunStatus()
    unused = {(problem.path, problem.action) for problem in model.problems if problem.kind == "unused_edge"}
    parents = {node.id: node.parent or TOP for node in model.nodes}
    for flow in model.clusters:
        key = boxes[flow.id].key
        if flow.start is not None and flow.members:
            is_taken = (flow.id, flow.start, "") in status.edges
            yield flow.id, Wire(f"e{key}", START, flow.start, is_taken=is_taken)
        ends = list(_together(exits[flow.id]))
        for i, (source, is_meant, actions) in enumerate(ends):
            words = [shown(action) for action in actions if action and (action != "default" or not is_meant)]
            taken = [action for tail, head, action in status.edges if (tail, head) == (source, flow.id)]
            is_taken = any(None in actions or action in actions for action in taken)
            is_shared = is_meant and len(ends) <= FEW_EXITS and len(flow.members) <= FEW_STEPS
            ring = END if is_shared else f"{END}{i}"
            wire = Wire(f"z{key}e{i}", source, ring, ", ".join(words), is_wrong=not is_meant, is_taken=is_taken)
            yield flow.id, wire
    for i, edge in enumerate(model.edges):
        words = [] if edge.action == "default" else [shown(edge.action)]
        times = status.edges.get((edge.source, edge.target, edge.action), 0)
        words += [f"{times:,} times"] if times > 1 else []
        wire = Wire(
            f"e{i}",
            edge.source,
            edge.target,
            ", ".join(words),
            is_back=edge.is_back,
            is_unused=(edge.source, edge.action) in unused,
            is_taken=times > 0,
        )
        yield parents[edge.source], wire


def _together(exits: Sequence[GraphExit]) -> Iterator[tuple[str, bool, list[str | None]]]:
    """Yield each step at which a flow ends, with the actions of its intended exits, then of its other exits."""
    actions: dict[tuple[str, bool], list[str | None]] = {}
    for exit in exits:
        actions.setdefault((exit.source, exit.is_meant), []).append(exit.action)
    for (source, is_meant), found in actions.items():
        yield source, is_meant, found


def _legend(model: GraphData, boxes: Mapping[str, Box], wires: Sequence[Wire]) -> list[str]:
    """Return lines that explain the shapes and signs of this drawing."""
    kinds = {(box.kind, box.is_open) for box in boxes.values()}
    icons = {note.kind for node in model.nodes for note in node.notes}
    words = [_LEGEND[key] for key in _LEGEND if key in kinds]
    words += [f"{_ICONS[kind]}{_ICON_WORDS[kind]}" for kind in _ICON_WORDS if kind in icons]
    words += ["\u25cf start"] if any(box.is_open for box in boxes.values()) else []
    words += ["\u25ce end"] if any(is_ring(wire.head) for wire in wires) else []
    if model.status is not None:
        states = {status.state for status in model.status.nodes.values()}
        words += [f"{sign} {STATE_WORDS[state]}" for state, sign in SIGNS.items() if state in states]
        words.append("thick line: taken")
        words += ["grey: not visited"] if any(box.state == "unvisited" for box in boxes.values()) else []
    words += ["dashed line: no edge for this action"] if any(wire.is_wrong for wire in wires) else []
    words += ["dotted line: never taken"] if any(wire.is_unused for wire in wires) else []
    return _filled(words, LEGEND_LENGTH, BLANK * 4)
