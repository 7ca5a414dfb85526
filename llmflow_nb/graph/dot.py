"""The graph in the DOT language (https://graphviz.org/doc/info/lang.html).

Ids are generated here, never taken from a name: the node ``model.nodes[7]`` is ``n7``, or ``cluster_n7`` if it is a
flow whose steps are drawn. Every text is quoted here too: the ``graphviz`` package would pass a label in angle brackets
on as markup.

A flow is drawn as a frame, with a dot at its start and a ring at its end. Graphviz draws edges between nodes only: an
edge to a frame leads to the dot, and an edge from a frame begins at the ring. Both are clipped at the frame (``lhead``,
``ltail``). Edges that lead back are not clipped, since Graphviz puts a label in the middle of the whole edge.

Colours have six digits: Graphviz 2.43 draws shorter ones black. Nodes have light fills and dark text; all the rest is
grey, readable on white and on black.
"""

from collections.abc import Iterator, Sequence

from ..core.text import shown
from .model import GraphCluster, GraphData, GraphEdge, GraphExit, GraphNode
from .status import STATE_WORDS, NodeStatus

__all__ = ["FONT", "dot_of"]

FONT = "Helvetica,Arial,sans-serif"
INK = "#1f2937"
GREY = "#7a7a7a"
WRONG = "#d6453d"
LINE_LENGTH = 30
# The colours of visited nodes. A sign before the name says the same, for readers who do not see the colours.
_STATE_COLOURS = {
    "ok": {"color": "#3d7a46", "fillcolor": "#dff2e1"},
    "partly": {"color": "#a1671a", "fillcolor": "#fdeccb"},
    "failed": {"color": "#b3261e", "fillcolor": "#fbe0de"},
    "cancelled": {"color": "#6b6b6b", "fillcolor": "#e6e2d6"},
    "running": {"color": "#1f5fbf", "fillcolor": "#d8e7ff"},
}
_NOT_VISITED = {"color": "#9a9a9a", "fillcolor": "#f4f4f4"}
_SIGNS = {"ok": "\u2713", "partly": "!", "failed": "\u2717", "cancelled": "\u2013", "running": "\u25b6"}
# Problems that are shown on a node, with the words; others are shown on an edge, or below the drawing.
_REMARKS = {
    "unreachable": "never reached",
    "endless": "no way out",
    "no_start": "",
    "contains_itself": "",
}
# By kind, and whether the steps of the flow are drawn.
_LEGEND = {
    ("node", False): "rounded box: node",
    ("batch_node", False): "box with depth: batch node",
    ("flow", True): "frame: flow",
    ("batch_flow", True): "double frame: batch flow",
    ("flow", False): "dashed box: flow, closed",
    ("batch_flow", False): "dashed box with depth: batch flow, closed",
}
_ICON_WORDS = {"each": "once for each", "retries": "attempts", "async": "async"}
LEGEND_LENGTH = 90
LEFT = "\\l"
"""The DOT escape that ends a line and aligns it to the left."""
_ICONS = {"each": "\u2261 ", "retries": "\u21bb ", "async": "\u22ef "}  # three bars, a round arrow, three dots
BLANK = "\u00a0"  # space between a label and its line; no-break, since SVG drops other spaces at the ends
CELL_WIDTH = 720
"""The width of a cell in points. A graph that fits in it runs from left to right, a longer one from top to bottom."""
LETTER, BOX, FRAME = 5.5, 54.0, 85.0
"""Estimated widths in points: of a letter, of a box without its text but with an edge, and of a frame with an edge."""
MANY = 14
"""From this number of boxes on, a graph from top to bottom is set closer."""

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


def dot_of(model: GraphData) -> str:
    """Return the DOT text of the graph. The same graph gives the same text.

    With the status of a run, nodes show their outcome in colour and in words, and edges that were taken are thick, with
    a count.
    """
    return _Writer(model).write()


def quoted(*lines: str, end: str = "") -> str:
    r"""Return the lines as one DOT string that shows exactly that text.

    Backslashes and ampersands are escaped too: Graphviz reads escapes and character references in every label.

    Args:
        lines: Results of `shown`, so without line breaks.
        end: The escape that ends a line and sets its alignment. Default: centred.

    >>> print(quoted('<a href="x">&amp;' + "\\"), quoted("two", "lines"))
    "<a href=\"x\">&amp;amp;\\" "two\nlines"
    """
    escaped = [line.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;") for line in lines]
    text = end.join([*escaped, ""]) if end else "\\n".join(escaped)
    return f'"{text}"'


def lines_of(
    node: GraphNode, cluster: GraphCluster | None, status: NodeStatus | None = None, remark: str = ""
) -> list[str]:
    """Return the lines of a node's label: its name, and below it the notes, the remark and the status."""
    notes = [_ICONS.get(note.kind, "") + shown(note.text) for note in node.notes]
    if cluster is not None and not cluster.members:
        notes.append(cluster.why_empty)
    notes += [remark] if remark else []
    lines = [shown(node.name)]
    for note in notes:
        if len(lines) == 1 or len(lines[-1]) + len(note) > LINE_LENGTH:
            lines.append(note)
        else:
            lines[-1] += f", {note}"
    if status is None:
        return lines
    return [f"{_SIGNS[status.state]} {lines[0]}", *lines[1:], *map(shown, status.notes)]


class _Writer:
    def __init__(self, model: GraphData) -> None:
        self.model = model
        self.style = model.style
        self.ids = {node.id: f"n{i}" for i, node in enumerate(model.nodes)}
        self.clusters = {cluster.id: cluster for cluster in model.clusters}
        self.open = {cluster.id for cluster in model.clusters if cluster.members}
        # A frame has a ring if an exit of its flow is known, or if an edge or an exit of an outer flow starts at it.
        self.rings = {cluster.id for cluster in model.clusters if cluster.exits}
        self.rings |= self.open & {edge.source for edge in model.edges}
        self.rings |= self.open & {exit.source for cluster in model.clusters for exit in cluster.exits}
        self.double = {node.id for node in model.nodes if node.kind == "batch_flow"}
        self.remarks: dict[str, str] = {}
        for problem in model.problems:
            if problem.kind in _REMARKS:
                self.remarks[problem.path] = self.remarks.get(problem.path) or _REMARKS[problem.kind]
        self.unused = {(problem.path, problem.action) for problem in model.problems if problem.kind == "unused_edge"}
        self.lines: list[str] = []

    def write(self) -> str:
        boxes = [node for node in self.model.nodes if node.id not in self.open]
        direction = self.style.direction or ("LR" if self._width(boxes) <= CELL_WIDTH else "TB")
        across, close = direction == "LR", len(boxes) >= MANY
        ranksep = 0.35 if across else 0.18 if close else 0.25
        self._put(0, "digraph {")
        self._put(1, f"graph [id=all rankdir={direction} compound=true bgcolor=transparent pad=0.04")
        self._put(2, f"nodesep=0.3 ranksep={ranksep} margin=0 labeljust=l")
        self._put(2, f'fontname="{FONT}" fontsize=11 fontcolor="{GREY}" color="{GREY}" style=rounded]')
        self._put(1, f'node [fontname="{FONT}" fontsize=11 fontcolor="{INK}" color="{GREY}"')
        self._put(2, f'margin="0.18,{0.04 if close else 0.06}" height={0.3 if close else 0.4}]')
        self._put(1, f'edge [fontname="{FONT}" fontsize=10 fontcolor="{GREY}" color="{GREY}" arrowsize=0.7]')
        for node, depth, is_end in self.model.walk():
            if node.id not in self.open:
                if not is_end:
                    self._node(node, depth + 1)
            elif is_end:
                self._end(node, depth + 1)
            else:
                self._begin(node, depth + 1)
        for i, edge in enumerate(self.model.edges):
            self._edge(i, edge)
        if self.style.legend:
            self._put(1, f"graph [labelloc=b fontsize=9 label={quoted(*self._legend(), end=LEFT)}]")
        self._put(0, "}")
        return "\n".join(self.lines)

    def _put(self, depth: int, line: str) -> None:
        self.lines.append("  " * depth + line)

    def _width(self, boxes: list[GraphNode]) -> float:
        """Estimate the width of the graph with all boxes in one row."""
        lines = [lines_of(node, self.clusters.get(node.id), self._status(node)) for node in boxes]
        words = {edge.source: len(edge.action) for edge in self.model.edges if edge.action != "default"}
        letters = sum(max(map(len, text)) for text in lines) + sum(words.values())
        return LETTER * letters + BOX * len(boxes) + FRAME * len(self.open)

    def _begin(self, flow: GraphNode, depth: int) -> None:
        """Open the frame of a flow and draw its start."""
        id, cluster = self.ids[flow.id], self.clusters[flow.id]
        status = self._status(flow)
        label = quoted(*lines_of(flow, cluster, status, self.remarks.get(flow.id, "")), end=LEFT)
        attributes = {}
        if status is not None:
            attributes = {"color": _STATE_COLOURS[status.state]["color"], "penwidth": "1.5"}
        elif self.model.status is not None or self.style.colours:  # or it would inherit those of the frame around it
            attributes = {"color": GREY, "penwidth": "1", "fontcolor": GREY, "style": "rounded"}
        attributes |= self.style.colours.get(flow.id, {})
        attributes |= {"style": "rounded,filled"} if "fillcolor" in attributes else {}
        style = "".join(f' {key}="{value}"' for key, value in attributes.items())
        self._put(depth, f"subgraph cluster_{id} {{")
        if flow.id == self.model.nodes[0].id and lines_of(flow, cluster) == ["Flow"]:
            self._put(depth + 1, f'graph [id={id} label="" peripheries=0 margin=0]')  # a frame would add nothing
        elif flow.id in self.double:  # two frames, since Graphviz has no double border of a cluster
            self._put(depth, f'graph [id={id} label="" margin=4{style}]')
            self._put(depth, f"subgraph cluster_{id}i {{")
            self._put(depth + 1, f"graph [id={id}i label={label} margin=10{style}]")
        else:
            self._put(depth + 1, f"graph [id={id} label={label} margin=10{style}]")
        self._put(depth + 1, f's{id} [id=s{id} label="" shape=point width=0.12]')
        head, head_at = self._head(cluster.start or "")
        taken = " penwidth=2.5" if self._taken(flow.id, cluster.start or "", [""]) else ""
        self._put(depth + 1, f"s{id} -> {head} [id=e{id}{taken}{head_at}]")

    def _end(self, flow: GraphNode, depth: int) -> None:
        """Draw the end of a flow and close its frame."""
        id, cluster = self.ids[flow.id], self.clusters[flow.id]
        if flow.id in self.rings:
            self._put(depth + 1, f'z{id} [id=z{id} label="" shape=doublecircle style=filled fillcolor="{GREY}"')
            self._put(depth + 2, "width=0.08 height=0.08 fixedsize=true]")
            if not cluster.exits:  # places the ring at the end of the frame
                tail, tail_at = self._tail(cluster.members[-1])
                self._put(depth + 1, f"{tail} -> z{id} [style=invis{tail_at}]")
        for i, (source, is_meant, actions) in enumerate(_together(cluster.exits)):
            tail, tail_at = self._tail(source)
            words = [shown(action) for action in actions if action and (action != "default" or not is_meant)]
            attributes = _label_attribute(words)
            attributes += "" if is_meant else f' color="{WRONG}" fontcolor="{WRONG}" style=dashed'
            attributes += " penwidth=2.5" if self._taken(source, flow.id, actions) else ""
            self._put(depth + 1, f"{tail} -> z{id} [id=z{id}e{i}{attributes}{tail_at}]")
        self._put(depth, "}}" if flow.id in self.double else "}")

    def _node(self, node: GraphNode, depth: int) -> None:
        id = self.ids[node.id]
        status = self._status(node)
        remark = self.remarks.get(node.id, "")
        attributes = _STYLES[node.kind]
        if self.model.status is not None:
            attributes = attributes | (_NOT_VISITED if status is None else _STATE_COLOURS[status.state])
        if node.id in self.remarks:
            attributes = attributes | {"color": WRONG, "style": attributes["style"].replace(",dashed", "") + ",dashed"}
        attributes = {**attributes, **self.style.colours.get(node.id, {})}
        style = " ".join(f'{key}="{value}"' for key, value in attributes.items())
        self._put(depth, f"{id} [id={id} label={quoted(*lines_of(node, self.clusters.get(node.id), status, remark))}")
        self._put(depth + 1, f"{style}]")

    def _edge(self, i: int, edge: GraphEdge) -> None:
        tail, tail_at = self._tail(edge.source)
        head, head_at = self._head(edge.target)
        words = [] if edge.action == "default" else [shown(edge.action)]
        taken = self._taken(edge.source, edge.target, [edge.action])
        if taken > 1:
            words.append(f"{taken:,} times")
        attributes = _label_attribute(words)
        attributes += " penwidth=2.5" if taken else ""
        attributes += " style=dotted" if (edge.source, edge.action) in self.unused else ""
        if edge.is_back and (edge.source != edge.target or tail_at):
            # Written in reverse, with the arrow at the other end. Otherwise Graphviz itself chooses the edge of a loop
            # that leads back, and may put the start at the far side.
            self._put(1, f"{head} -> {tail} [id=e{i} dir=back{attributes}]")
        else:
            self._put(1, f"{tail} -> {head} [id=e{i}{attributes}{tail_at}{head_at}]")

    def _status(self, node: GraphNode) -> NodeStatus | None:
        return None if self.model.status is None else self.model.status.nodes.get(node.id)

    def _taken(self, source: str, target: str, actions: Sequence[str | None]) -> int:
        """Return how often a run went this way; for an exit with an unknown action, by any action."""
        edges = {} if self.model.status is None else self.model.status.edges
        if None in actions:
            return sum(n for (tail, head, _), n in edges.items() if (tail, head) == (source, target))
        return sum(edges.get((source, target, action or ""), 0) for action in actions)

    def _legend(self) -> list[str]:
        """Return lines that explain the shapes and signs of this drawing."""
        kinds = {(node.kind, node.id in self.open) for node in self.model.nodes}
        icons = {note.kind for node in self.model.nodes for note in node.notes}
        words = [_LEGEND[key] for key in _LEGEND if key in kinds]
        words += [f"{_ICONS[kind]}{_ICON_WORDS[kind]}" for kind in _ICON_WORDS if kind in icons]
        if self.open:
            words.append("\u25cf start")
        if self.rings:
            words.append("\u25ce end")
        if self.model.status is not None:
            states = {status.state for status in self.model.status.nodes.values()}
            words += [f"{sign} {STATE_WORDS[state]}" for state, sign in _SIGNS.items() if state in states]
            words.append("thick line: taken")
            if any(node.id not in self.model.status.nodes for node in self.model.nodes):
                words.append("grey: not visited")
        if any(not exit.is_meant for cluster in self.model.clusters for exit in cluster.exits):
            words.append("dashed line: no edge for this action")
        if self.unused:
            words.append("dotted line: never taken")
        lines = [words[0]]
        for word in words[1:]:
            if len(lines[-1]) + len(word) > LEGEND_LENGTH:
                lines.append(word)
            else:
                lines[-1] += f"{BLANK * 4}{word}"
        return lines

    def _head(self, id: str) -> tuple[str, str]:
        """Return the node where an edge to this step ends, and the attribute that clips the edge at the frame."""
        dot_id = self.ids[id]
        return (f"s{dot_id}", f" lhead=cluster_{dot_id}") if id in self.open else (dot_id, "")

    def _tail(self, id: str) -> tuple[str, str]:
        """Return the node where an edge from this step begins, and the attribute that clips the edge at the frame."""
        dot_id = self.ids[id]
        return (f"z{dot_id}", f" ltail=cluster_{dot_id}") if id in self.open else (dot_id, "")


def _label_attribute(words: list[str]) -> str:
    return f" label={quoted(BLANK + ', '.join(words) + BLANK)}" if words else ""


def _together(exits: tuple[GraphExit, ...]) -> Iterator[tuple[str, bool, list[str | None]]]:
    """Yield each step at which a flow ends with its exits' actions: the meant ones, and apart the others."""
    actions: dict[tuple[str, bool], list[str | None]] = {}
    for exit in exits:
        actions.setdefault((exit.source, exit.is_meant), []).append(exit.action)
    for (source, is_meant), found in actions.items():
        yield source, is_meant, found
