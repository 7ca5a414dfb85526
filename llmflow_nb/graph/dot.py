"""The graph in the DOT language (https://graphviz.org/doc/info/lang.html).

Ids in it are made here, never taken from a name: the node ``model.nodes[7]`` is ``n7``, or ``cluster_n7`` if it is a
flow whose steps are drawn. Every text is quoted here too: the ``graphviz`` package would let a label in angle brackets
through as markup.

A frame has a dot where its flow starts, and a ring where it can end. An edge of Graphviz runs between nodes, so an edge
to a frame runs to the dot and one from a frame begins at the ring. Both are cut off at the frame (``lhead``, ``ltail``)
if they lead on; an edge back is not, for its words are put in the middle of all of it.

Colours have six digits: Graphviz 2.43 draws shorter ones black. Nodes are filled in light colours with dark text, all
else is of a grey that can be read on white and on black.
"""

from collections.abc import Iterator, Sequence

from ..core.text import shown
from .marks import STATE_WORDS, Mark
from .model import GraphCluster, GraphEdge, GraphExit, GraphModel, GraphNode
from .svg import FONT

__all__ = ["dot_of"]

INK = "#1f2937"
GREY = "#7a7a7a"
WRONG = "#d6453d"
LINE_LENGTH = 30
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
# What is probably not meant, where it is told of a node; the rest is told of an edge, or below the drawing.
_REMARKS = {
    "unreachable": "never reached",
    "endless": "no way out",
    "no_start": "",
    "contains_itself": "",
}
# By kind, and whether the steps within are drawn.
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
"""The escape of DOT that ends a line and sets it to the left."""
_ICONS = {"each": "\u2261 ", "retries": "\u21bb ", "async": "\u22ef "}  # three bars, a round arrow, three dots
BLANK = "\u00a0"  # keeps a label off its line: no-break, since SVG drops others at the ends
ROOM = 720
"""Points up to which a graph runs from left to right: one that fits a cell goes across, a longer one down."""
LETTER, BOX, FRAME = 5.5, 54.0, 85.0
"""What a letter takes in points, what a box takes beside its text, with the edge to the next, and a frame likewise."""
MANY = 14
"""Boxes from which on they are set closer, where the graph runs down."""

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


def dot_of(model: GraphModel) -> str:
    """Return the DOT text of the graph: the same text for the same model.

    With marks, nodes have the colours of what happened to them, and say it in words too; edges that were taken are
    thick, with how often.
    """
    return _Writer(model).write()


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


def lines_of(node: GraphNode, cluster: GraphCluster | None, mark: Mark | None = None, remark: str = "") -> list[str]:
    """Return what to write on a node: its name, and in the lines below it what else there is to say of it."""
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
    return lines if mark is None else [f"{_SIGNS[mark.state]} {lines[0]}", *lines[1:], *map(shown, mark.notes)]


class _Writer:
    def __init__(self, model: GraphModel) -> None:
        self.model = model
        self.look = model.look
        self.ids = {node.id: f"n{i}" for i, node in enumerate(model.nodes)}
        self.clusters = {cluster.id: cluster for cluster in model.clusters}
        self.open = {cluster.id for cluster in model.clusters if cluster.members}
        # A frame has a ring where its flow ends, and also where it is not seen to end, but something leads on from it.
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
        direction = self.look.direction or ("LR" if self._width(boxes) <= ROOM else "TB")
        across, close = direction == "LR", len(boxes) >= MANY
        ranksep = 0.35 if across else 0.18 if close else 0.25
        self._put(0, "digraph {")
        self._put(1, f"graph [id=all rankdir={direction} compound=true bgcolor=transparent pad=0.04")
        self._put(2, f"nodesep=0.3 ranksep={ranksep} margin=0 labeljust=l")
        self._put(2, f'fontname="{FONT}" fontsize=11 fontcolor="{GREY}" color="{GREY}" style=rounded]')
        self._put(1, f'node [fontname="{FONT}" fontsize=11 fontcolor="{INK}" color="{GREY}"')
        self._put(2, f'margin="0.18,{0.04 if close else 0.06}" height={0.3 if close else 0.4}]')
        self._put(1, f'edge [fontname="{FONT}" fontsize=10 fontcolor="{GREY}" color="{GREY}" arrowsize=0.7]')
        around: list[str] = []  # the flows around the place where the walk is
        for node, depth in self.model.walk():
            self._end(around, depth)
            if node.id in self.open:
                self._begin(node, depth + 1)
                around.append(node.id)
            else:
                self._node(node, depth + 1)
        self._end(around, 0)
        for i, edge in enumerate(self.model.edges):
            self._edge(i, edge)
        if self.look.legend:
            self._put(1, f"graph [labelloc=b fontsize=9 label={quoted(*self._legend(), end=LEFT)}]")
        self._put(0, "}")
        return "\n".join(self.lines)

    def _put(self, depth: int, line: str) -> None:
        self.lines.append("  " * depth + line)

    def _width(self, boxes: list[GraphNode]) -> float:
        """About what the graph would take from left to right, if its boxes were all in one row."""
        lines = [lines_of(node, self.clusters.get(node.id), self._mark(node)) for node in boxes]
        words = {edge.source: len(edge.action) for edge in self.model.edges if edge.action != "default"}
        letters = sum(max(map(len, text)) for text in lines) + sum(words.values())
        return LETTER * letters + BOX * len(boxes) + FRAME * len(self.open)

    def _begin(self, flow: GraphNode, depth: int) -> None:
        """Begin the frame of a flow, with its start."""
        id, cluster = self.ids[flow.id], self.clusters[flow.id]
        mark = self._mark(flow)
        label = quoted(*lines_of(flow, cluster, mark, self.remarks.get(flow.id, "")), end=LEFT)
        looks = {}
        if mark is not None:
            looks = {"color": _COLOURS[mark.state]["color"], "penwidth": "1.5"}
        elif self.look.marks is not None or self.look.colours:  # else a frame has the looks of the one around it
            looks = {"color": GREY, "penwidth": "1", "fontcolor": GREY, "style": "rounded"}
        looks |= self.look.colours.get(flow.id, {})
        looks |= {"style": "rounded,filled"} if "fillcolor" in looks else {}
        style = "".join(f' {key}="{value}"' for key, value in looks.items())
        self._put(depth, f"subgraph cluster_{id} {{")
        if flow.id == self.model.nodes[0].id and lines_of(flow, cluster) == ["Flow"]:
            self._put(depth + 1, f'graph [id={id} label="" peripheries=0 margin=0]')  # nothing that a frame would tell
        elif flow.id in self.double:  # a second frame: Graphviz knows no double border of a cluster
            self._put(depth, f'graph [id={id} label="" margin=4{style}]')
            self._put(depth, f"subgraph cluster_{id}i {{")
            self._put(depth + 1, f"graph [id={id}i label={label} margin=10{style}]")
        else:
            self._put(depth + 1, f"graph [id={id} label={label} margin=10{style}]")
        self._put(depth + 1, f's{id} [id=s{id} label="" shape=point width=0.12]')
        head, head_at = self._head(cluster.start or "")
        taken = " penwidth=2.5" if self._taken(flow.id, cluster.start or "", [""]) else ""
        self._put(depth + 1, f"s{id} -> {head} [id=e{id}{taken}{head_at}]")

    def _end(self, around: list[str], depth: int) -> None:
        """End the frames that are deeper than this, each with the ring where its flow ends."""
        while len(around) > depth:
            flow = around.pop()
            id, cluster = self.ids[flow], self.clusters[flow]
            level = len(around) + 2
            if flow in self.rings:
                self._put(level, f'z{id} [id=z{id} label="" shape=doublecircle style=filled fillcolor="{GREY}"')
                self._put(level + 1, "width=0.08 height=0.08 fixedsize=true]")
                if not cluster.exits:  # keeps the ring at the end of the frame
                    tail, tail_at = self._tail(cluster.members[-1])
                    self._put(level, f"{tail} -> z{id} [style=invis{tail_at}]")
            for i, (source, is_meant, actions) in enumerate(_together(cluster.exits)):
                tail, tail_at = self._tail(source)
                words = [shown(action) for action in actions if action and (action != "default" or not is_meant)]
                looks = f" label={quoted(BLANK + ', '.join(words) + BLANK)}" if words else ""
                looks += "" if is_meant else f' color="{WRONG}" fontcolor="{WRONG}" style=dashed'
                looks += " penwidth=2.5" if self._taken(source, flow, actions) else ""
                self._put(level, f"{tail} -> z{id} [id=z{id}e{i}{looks}{tail_at}]")
            self._put(level - 1, "}}" if flow in self.double else "}")

    def _node(self, node: GraphNode, depth: int) -> None:
        id = self.ids[node.id]
        mark = self._mark(node)
        remark = self.remarks.get(node.id, "")
        looks = _STYLES[node.kind]
        if self.look.marks is not None:
            looks = looks | (_NOT_VISITED if mark is None else _COLOURS[mark.state])
        if node.id in self.remarks:
            looks = looks | {"color": WRONG, "style": looks["style"].replace(",dashed", "") + ",dashed"}
        looks = {**looks, **self.look.colours.get(node.id, {})}
        style = " ".join(f'{key}="{value}"' for key, value in looks.items())
        self._put(depth, f"{id} [id={id} label={quoted(*lines_of(node, self.clusters.get(node.id), mark, remark))}")
        self._put(depth + 1, f"{style}]")

    def _edge(self, i: int, edge: GraphEdge) -> None:
        tail, tail_at = self._tail(edge.source)
        head, head_at = self._head(edge.target)
        words = [] if edge.action == "default" else [shown(edge.action)]
        taken = self._taken(edge.source, edge.target, [edge.action])
        if taken > 1:
            words.append(f"{taken:,} times")
        looks = f" label={quoted(BLANK + ', '.join(words) + BLANK)}" if words else ""
        looks += " penwidth=2.5" if taken else ""
        looks += " style=dotted" if (edge.source, edge.action) in self.unused else ""
        if edge.is_back and (edge.source != edge.target or tail_at):
            # Written the other way round, with its arrow at the other end: else Graphviz chooses which edge of a loop
            # it takes for the one that leads back, and may put the start at the far side.
            self._put(1, f"{head} -> {tail} [id=e{i} dir=back{looks}]")
        else:
            self._put(1, f"{tail} -> {head} [id=e{i}{looks}{tail_at}{head_at}]")

    def _mark(self, node: GraphNode) -> Mark | None:
        return None if self.look.marks is None else self.look.marks.nodes.get(node.id)

    def _taken(self, source: str, target: str, actions: Sequence[str | None]) -> int:
        """How often this way was taken. Of an end whose action is not known: on any."""
        marks = self.look.marks
        if marks is None:
            return 0
        if None in actions:
            return sum(n for (tail, head, _), n in marks.edges.items() if (tail, head) == (source, target))
        return sum(marks.edges.get((source, target, action or ""), 0) for action in actions)

    def _legend(self) -> list[str]:
        """Say what the shapes and signs stand for: those that are there, in lines."""
        kinds = {(node.kind, node.id in self.open) for node in self.model.nodes}
        icons = {note.kind for node in self.model.nodes for note in node.notes}
        words = [_LEGEND[key] for key in _LEGEND if key in kinds]
        words += [f"{_ICONS[kind]}{_ICON_WORDS[kind]}" for kind in _ICON_WORDS if kind in icons]
        if self.open:
            words.append("\u25cf start")
        if self.rings:
            words.append("\u25ce end")
        if self.look.marks is not None:
            states = {mark.state for mark in self.look.marks.nodes.values()}
            words += [f"{sign} {STATE_WORDS[state]}" for state, sign in _SIGNS.items() if state in states]
            words.append("thick line: taken")
            if any(node.id not in self.look.marks.nodes for node in self.model.nodes):
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
        """The node where an edge to this step ends, and the attribute that cuts the edge off at the frame."""
        dot_id = self.ids[id]
        return (f"s{dot_id}", f" lhead=cluster_{dot_id}") if id in self.open else (dot_id, "")

    def _tail(self, id: str) -> tuple[str, str]:
        """The node where an edge from this step begins, and the attribute that cuts the edge off at the frame."""
        dot_id = self.ids[id]
        return (f"z{dot_id}", f" ltail=cluster_{dot_id}") if id in self.open else (dot_id, "")


def _together(exits: tuple[GraphExit, ...]) -> Iterator[tuple[str, bool, list[str | None]]]:
    """Go through the steps at which a flow ends, each with the actions that are meant, and with those that are not."""
    actions: dict[tuple[str, bool], list[str | None]] = {}
    for exit in exits:
        actions.setdefault((exit.source, exit.is_meant), []).append(exit.action)
    for (source, is_meant), found in actions.items():
        yield source, is_meant, found
