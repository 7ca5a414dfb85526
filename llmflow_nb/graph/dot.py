"""The graph in the DOT language (https://graphviz.org/doc/info/lang.html).

Ids in it are made here, never taken from a name: the node ``model.nodes[7]`` is ``n7``, or ``cluster_n7`` if it is a
flow whose steps are drawn. Every text is quoted here too: the ``graphviz`` package would let a label in angle brackets
through as markup.

An edge of Graphviz runs between nodes, so an edge of a flow is one between two nodes inside that is cut off at the
frame (``lhead``, ``ltail``): it ends at the dot that marks the start, and begins at a step where the flow can end.

Colours have six digits: Graphviz 2.43 draws shorter ones black. Nodes are filled in light colours with dark text, all
else is of a grey that can be read on white and on black.
"""

import re
from collections.abc import Mapping

from ..core.errors import SettingError
from .marks import Mark, Marks
from .model import GraphCluster, GraphEdge, GraphModel, GraphNode, Style
from .text import shown

__all__ = ["dot_of"]

INK = "#1f2937"
GREY = "#7a7a7a"
FONT = "Helvetica,Arial,sans-serif"
LINE_LENGTH = 30
# Six digits: Graphviz 2.43 draws shorter colours black.
_COLOUR = re.compile(r"#[0-9A-Fa-f]{6}")
_STYLE_VALUES = {
    "color": _COLOUR,
    "fillcolor": _COLOUR,
    "fontcolor": _COLOUR,
    "penwidth": re.compile(r"\d{1,2}(\.\d+)?"),
}
# Of nodes that were visited. Never by colour alone: the sign before the name says the same.
_COLOURS = {
    "ok": {"color": "#3d7a46", "fillcolor": "#dff2e1"},
    "partly": {"color": "#a1671a", "fillcolor": "#fdeccb"},
    "failed": {"color": "#b3261e", "fillcolor": "#fbe0de"},
    "cancelled": {"color": "#6b6b6b", "fillcolor": "#e6e2d6"},
    "running": {"color": "#1f5fbf", "fillcolor": "#d8e7ff"},
}
_NOT_VISITED = {"color": "#9a9a9a", "fillcolor": "#f4f4f4"}
_SIGNS = {"ok": "\u2713", "partly": "!", "failed": "\u2717", "cancelled": "\u2013", "running": "\u25b6"}
_LEGEND = {
    "node": "node",
    "batch_node": "batch node: once for each item",
    "flow": "flow, closed",
    "batch_flow": "batch flow: once for each param set",
}
BLANK = "\u00a0"  # keeps a label off its line: no-break, since SVG drops others at the ends
LONGEST_ROW = 6
"""Nodes up to which the graph runs from left to right: a short one fits the width of a cell, a long one its length."""

_STYLES = {
    "node": {"shape": "box", "style": "rounded,filled", "color": "#5b7db1", "fillcolor": "#e6eefa"},
    "batch_node": {
        "shape": "box3d",
        "style": "filled",
        "color": "#b58a3c",
        "fillcolor": "#fdf1d8",
        "margin": "0.18,0.1",
    },
    "flow": {"shape": "box", "style": "rounded,filled,dashed", "color": "#7a7a7a", "fillcolor": "#f1f1f1"},
    "batch_flow": {
        "shape": "box3d",
        "style": "filled,dashed",
        "color": "#7a7a7a",
        "fillcolor": "#f1f1f1",
        "margin": "0.18,0.1",
    },
}


def dot_of(
    model: GraphModel,
    *,
    direction: str | None = None,
    legend: bool = False,
    style: Style | None = None,
    marks: Marks | None = None,
) -> str:
    """Return the DOT text of the graph: the same text for the same model.

    With ``marks``, nodes have the colours of what happened to them, and say it in words too; edges that were taken are
    thick, with how often.

    Raises:
        SettingError: ``direction`` is neither "LR" nor "TB", or ``style`` returned what is no colour or width.
    """
    if direction not in (None, "LR", "TB"):
        raise SettingError(f"direction={direction!r}: it must be 'LR' (left to right), 'TB' (top to bottom), or None.")
    return _Writer(model, style, marks).write(direction, legend)


def quoted(*lines: str, end: str = "") -> str:
    r"""Return the lines as one DOT string that shows exactly that text.

    The backslash would begin an escape, and the ampersand a character reference, which Graphviz reads in every label.

    Args:
        lines: What `shown` returned: no line breaks within.
        end: The escape that ends a line, which sets its alignment. Default: centred.

    >>> print(quoted('<a href="x">&amp;' + "\\"), quoted("two", "lines"))
    "<a href=\"x\">&amp;amp;\\" "two\nlines"
    """
    escaped = [line.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;") for line in lines]
    text = end.join([*escaped, ""]) if end else "\\n".join(escaped)
    return f'"{text}"'


def lines_of(node: GraphNode, cluster: GraphCluster | None, mark: Mark | None = None) -> list[str]:
    """Return what to write on a node: its name, and in the lines below it what else there is to say of it."""
    notes = [shown(note) for note in node.notes]
    if cluster is not None and not cluster.members:
        notes.append(cluster.why_empty)
    lines = [shown(node.name)]
    for note in notes:
        if len(lines) == 1 or len(lines[-1]) + len(note) > LINE_LENGTH:
            lines.append(note)
        else:
            lines[-1] += f", {note}"
    return lines if mark is None else [f"{_SIGNS[mark.state]} {lines[0]}", *lines[1:], *map(shown, mark.notes)]


def _checked(looks: Mapping[str, str] | None, node: GraphNode) -> dict[str, str]:
    """Refuse what a style function returned, but for colours and a width: the drawing is to stay a drawing.

    Raises:
        SettingError: Says which attribute, and what it may be.
    """
    found = {str(key): str(value) for key, value in (looks or {}).items()}
    for key, value in found.items():
        pattern = _STYLE_VALUES.get(key)
        if pattern is None or not pattern.fullmatch(value):
            known = "color, fillcolor and fontcolor (as '#rrggbb') and penwidth (a number)"
            raise SettingError(f"style({node.id!r}) returned {key}={value[:40]!r}; it may return {known}.")
    return found


class _Writer:
    def __init__(
        self,
        model: GraphModel,
        style: Style | None,
        marks: Marks | None,
    ) -> None:
        self.model = model
        self.style = style
        self.marks = marks
        self.ids = {node.id: f"n{i}" for i, node in enumerate(model.nodes)}
        self.clusters = {cluster.id: cluster for cluster in model.clusters}
        self.open = {cluster.id for cluster in model.clusters if cluster.members}
        self.exits = self._exits()
        self.loops = {edge.source for edge in model.edges if edge.source == edge.target} & self.open
        self.lines: list[str] = []

    def write(self, direction: str | None, legend: bool) -> str:
        boxes = len(self.model.nodes) - len(self.open)
        direction = direction or ("LR" if boxes <= LONGEST_ROW else "TB")
        self._put(0, "digraph {")
        self._put(1, f"graph [id=all rankdir={direction} compound=true bgcolor=transparent pad=0.04")
        self._put(2, f"nodesep=0.3 ranksep={0.35 if direction == 'LR' else 0.25} margin=0 labeljust=l")
        self._put(2, f'fontname="{FONT}" fontsize=11 fontcolor="{GREY}" color="{GREY}" style=rounded]')
        self._put(1, f'node [fontname="{FONT}" fontsize=11 fontcolor="{INK}" margin="0.18,0.06" height=0.4]')
        self._put(1, f'edge [fontname="{FONT}" fontsize=10 fontcolor="{GREY}" color="{GREY}" arrowsize=0.7]')
        around: list[str] = []  # what closes the frames around the place where the walk is
        for node, depth in self.model.walk():
            self._close(around, depth)
            if node.id in self.open:
                around.append(self._begin(node, depth + 1))
            else:
                self._node(node, depth + 1)
        self._close(around, 0)
        for i, edge in enumerate(self.model.edges):
            self._edge(i, edge)
        if legend:
            self._legend()
        self._put(0, "}")
        return "\n".join(self.lines) + "\n"

    def _put(self, depth: int, line: str) -> None:
        self.lines.append("  " * depth + line)

    def _close(self, around: list[str], depth: int) -> None:
        while len(around) > depth:
            self._put(len(around), around.pop())

    def _begin(self, flow: GraphNode, depth: int) -> str:
        """Begin the frame of a flow, with its start, and return what ends it."""
        id, cluster = self.ids[flow.id], self.clusters[flow.id]
        label = quoted(*lines_of(flow, cluster, self._mark(flow)), end="\\l")
        if flow.id in self.loops:
            self._put(depth, f'p{id} [id=p{id} shape=point width=0.01 color="{GREY}"]')
        self._put(depth, f"subgraph cluster_{id} {{")
        if flow.id == self.model.nodes[0].id and lines_of(flow, cluster) == ["Flow"]:
            self._put(depth + 1, f'graph [id={id} label="" peripheries=0 margin=0]')  # nothing that a frame would tell
        elif flow.kind == "batch_flow":  # a second frame: Graphviz knows no double border of a cluster
            self._put(depth, f'graph [id={id} label="" margin=4]')
            self._put(depth, f"subgraph cluster_{id}i {{")
            self._put(depth + 1, f"graph [id={id}i label={label} margin=10]")
        else:
            self._put(depth + 1, f"graph [id={id} label={label} margin=10]")
        self._put(depth + 1, f's{id} [id=s{id} label="" shape=point width=0.12 color="{GREY}"]')
        head, head_at = self._head(cluster.start or "")
        self._put(depth + 1, f"s{id} -> {head} [id=e{id}{head_at}]")
        return "}}" if flow.kind == "batch_flow" else "}"

    def _node(self, node: GraphNode, depth: int) -> None:
        id = self.ids[node.id]
        mark = self._mark(node)
        looks = _STYLES[node.kind]
        if self.marks is not None:
            looks = looks | (_NOT_VISITED if mark is None else _COLOURS[mark.state])
        if self.style is not None:
            looks = looks | _checked(self.style(node), node)
        style = " ".join(f'{key}="{value}"' for key, value in looks.items())
        self._put(depth, f"{id} [id={id} label={quoted(*lines_of(node, self.clusters.get(node.id), mark))}")
        self._put(depth + 1, f"{style}]")

    def _edge(self, i: int, edge: GraphEdge) -> None:
        tail, tail_at = self._tail(edge.source)
        head, head_at = self._head(edge.target)
        if edge.source == edge.target and edge.source in self.loops:
            # From a frame to itself, by way of a point outside: Graphviz would draw it inside.
            point = f"p{self.ids[edge.source]}"
            self._put(1, f"{tail} -> {point} [id=e{i}t{tail_at} arrowhead=none]")
            tail, tail_at = point, ""
        words = [] if edge.action == "default" else [shown(edge.action)]
        taken = self.marks.edges.get((edge.source, edge.target), 0) if self.marks is not None else 0
        if taken > 1:
            words.append(f"{taken:,} times")
        label = f" label={quoted(BLANK + ', '.join(words) + BLANK)}" if words else ""
        label += " penwidth=2.5" if taken else ""
        # An edge back that is cut off at a frame would pull the frame's start to the far side of it.
        is_around = edge.source == edge.target  # that one leaves its frame by a point, and comes back
        free = " constraint=false" if edge.is_back and (tail_at or head_at) and not is_around else ""
        self._put(1, f"{tail} -> {head} [id=e{i}{label}{tail_at}{head_at}{free}]")

    def _mark(self, node: GraphNode) -> Mark | None:
        return None if self.marks is None else self.marks.nodes.get(node.id)

    def _legend(self) -> None:
        """Say what the shapes stand for: those that are there, beside the graph."""
        self._put(1, "subgraph cluster_legend {")
        self._put(2, 'graph [id=legend label="what is what\\l" margin=8 style="rounded,dotted"]')
        for kind, text in _LEGEND.items():
            if any(node.kind == kind and node.id not in self.open for node in self.model.nodes):
                style = " ".join(f'{key}="{value}"' for key, value in _STYLES[kind].items())
                self._put(2, f"l{kind} [id=l{kind} label={quoted(text)} {style}]")
        self._put(
            2, f'lstart [id=lstart label="" xlabel="start" fontcolor="{GREY}" shape=point width=0.12 color="{GREY}"]'
        )
        self._put(1, "}")

    def _head(self, id: str) -> tuple[str, str]:
        """The node where an edge to this step ends, and the attribute that cuts the edge off at the frame."""
        dot_id = self.ids[id]
        return (f"s{dot_id}", f" lhead=cluster_{dot_id}") if id in self.open else (dot_id, "")

    def _tail(self, id: str) -> tuple[str, str]:
        """The node where an edge from this step begins, and the attribute that cuts the edge off at the frame."""
        dot_id = self.ids[id]
        return (self.ids[self.exits[id]], f" ltail=cluster_{dot_id}") if id in self.open else (dot_id, "")

    def _exits(self) -> dict[str, str]:
        """For every flow that is drawn: the id of the node within that its leaving edges begin at.

        The last step that no edge leaves, or the last of all in an endless loop; if it is a flow, the same within.
        """
        going_on = {edge.source for edge in self.model.edges if edge.source != edge.target}
        exits: dict[str, str] = {}
        for cluster in reversed(self.model.clusters):  # the inner ones first
            if cluster.members:
                last = next((id for id in reversed(cluster.members) if id not in going_on), cluster.members[-1])
                exits[cluster.id] = exits.get(last, last)
        return exits
