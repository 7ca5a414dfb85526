"""The graph in the DOT language (https://graphviz.org/doc/info/lang.html), built with the ``graphviz`` package.

Ids are generated, never taken from a name: the node ``model.nodes[7]`` is ``n7``, or ``cluster_n7`` if it is a flow
whose steps are drawn. Labels are escaped, so that no text is read as markup or as an escape of DOT.

A flow is drawn as a frame, with a dot at its start and a ring at its end. Graphviz draws edges between nodes only: an
edge to a frame leads to the dot, and an edge from a frame begins at the ring. Both are clipped at the frame (``lhead``,
``ltail``). Edges that lead back are not clipped, since Graphviz puts a label in the middle of the whole edge.

Colours have six digits: Graphviz 2.43 draws shorter ones black.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .model import GraphData
from .sketch import BLANK, START, TOP, Box, Wire, is_ring, sketch_of
from .style import COLOURS, FONT, GREY, INK, WRONG

if TYPE_CHECKING:
    from graphviz import Digraph

__all__ = ["digraph_of", "dot_of"]

MANY = 10
"""From this number of boxes on, a graph from left to right would be too wide."""
_SHAPES = {
    "node": {"shape": "box", "style": "rounded,filled"},
    "batch_node": {"shape": "box3d", "style": "filled"},
    "flow": {"shape": "box", "style": "rounded,filled,dashed"},
    "batch_flow": {"shape": "box3d", "style": "filled,dashed"},
}
_RING = {
    "shape": "doublecircle",
    "style": "filled",
    "fillcolor": GREY,
    "width": "0.08",
    "height": "0.08",
    "fixedsize": "true",
}


def dot_of(model: GraphData) -> str:
    """Return the DOT text of the graph. The same graph gives the same text."""
    text: str = digraph_of(model).source
    return text.rstrip("\n")


def digraph_of(model: GraphData) -> "Digraph":
    """Return the graph as an object of the ``graphviz`` package.

    With the status of a run, nodes show their outcome in colour and in words, and edges that were taken are thick, with
    a count.
    """
    from graphviz import Digraph

    sketch = sketch_of(model)
    members = {cluster.id: cluster.members for cluster in model.clusters}
    frames: dict[str, Any] = {}
    for node in reversed(model.nodes):  # the inner flows first
        box = sketch.boxes[node.id]
        if not box.is_open:
            continue
        is_double = box.kind == "batch_flow"
        frame = Digraph(f"cluster_{box.key}{'i' * is_double}")
        look = _frame_look(box)
        frame.attr("graph", id=f"{box.key}{'i' * is_double}", label=_label(box.lines, "\\l"), margin="10", **look)
        _fill(frame, box, members[node.id], sketch.boxes, frames)
        for wire in sketch.wires[node.id]:
            _add_edge(frame, box, wire, sketch.boxes)
        if is_double:  # two frames, since Graphviz has no double border of a cluster
            outline = Digraph(f"cluster_{box.key}")
            outline.attr("graph", id=box.key, label="", margin="4", **look)
            outline.subgraph(frame)
            frame = outline
        frames[node.id] = frame
    is_large = sum(not box.is_open for box in sketch.boxes.values()) >= MANY
    across = model.style.direction == "LR" if model.style.direction else not is_large
    digraph = Digraph()
    digraph.attr("graph", id="all", rankdir="LR" if across else "TB", compound="true", bgcolor="transparent")
    digraph.attr("graph", pad="0.04", margin="0", nodesep="0.3", ranksep="0.35" if across else "0.25", labeljust="l")
    digraph.attr("graph", fontname=FONT, fontsize="11", fontcolor=GREY, color=GREY, style="rounded")
    digraph.attr("node", fontname=FONT, fontsize="11", fontcolor=INK, color=GREY, margin="0.18,0.06", height="0.4")
    digraph.attr("edge", fontname=FONT, fontsize="10", fontcolor=GREY, color=GREY, arrowsize="0.7")
    for node in model.nodes:
        if node.parent is None:
            _add_box(digraph, node.id, sketch.boxes, frames)
    for wire in sketch.wires[TOP]:
        _add_edge(digraph, sketch.boxes[model.nodes[0].id], wire, sketch.boxes)
    if sketch.legend:
        digraph.attr("graph", labelloc="b", fontsize="9", label=_label(sketch.legend, "\\l"))
    return digraph


def _add_box(graph: Any, id: str, boxes: Mapping[str, Box], frames: dict[str, Any]) -> None:
    """Add a node, or the frame of a flow, which is filled already."""
    box = boxes[id]
    if box.is_open:
        graph.subgraph(frames.pop(id))
        return
    shape = _SHAPES[box.kind]
    style = shape["style"].replace(",dashed", "") + ",dashed" if box.is_wrong else shape["style"]
    fill, line, _, _ = COLOURS[box.state or box.kind]
    look = {**shape, "style": style, "color": WRONG if box.is_wrong else line, "fillcolor": fill, **box.colours}
    graph.node(box.key, _label(box.lines), id=box.key, **look)


def _frame_look(box: Box) -> dict[str, str]:
    """Return the attributes of the frame of a flow: all of them, since it inherits from the frame around it."""
    line = COLOURS[box.state][1] if box.state else GREY
    look = {"color": line, "penwidth": "1.5" if box.is_visited else "1", "fontcolor": GREY, **box.colours}
    look["style"] = "rounded,filled" if "fillcolor" in box.colours else "rounded"
    return {**look, "peripheries": "0" if box.is_bare else "1"}


def _fill(frame: Any, box: Box, members: Sequence[str], boxes: Mapping[str, Box], frames: dict[str, Any]) -> None:
    """Add the steps of a flow, with the dot at its start and the ring at its end."""
    frame.node(f"s{box.key}", id=f"s{box.key}", label="", shape="point", width="0.12")
    for member in members:
        _add_box(frame, member, boxes, frames)
    if box.has_ring:
        frame.node(f"z{box.key}", id=f"z{box.key}", label="", **_RING)


def _add_edge(frame: Any, flow: Box, wire: Wire, boxes: Mapping[str, Box]) -> None:
    look = {"id": wire.key}
    if wire.label:
        look["label"] = _label([f"{BLANK}{wire.label}{BLANK}"])
    if wire.is_wrong:
        look |= {"color": WRONG, "fontcolor": WRONG, "style": "dashed"}
    if wire.is_unused:
        look["style"] = "dotted"
    if wire.is_taken:
        look["penwidth"] = "2.5"
    ends: list[str] = []
    clipped: dict[str, str] = {}
    for step, dot, clip in ((wire.tail, "z", "ltail"), (wire.head, "s", "lhead")):
        if step == START or is_ring(step):
            ends.append(f"{'s' if step == START else 'z'}{flow.key}")
            continue
        box = boxes[step]
        ends.append(f"{dot}{box.key}" if box.is_open else box.key)
        clipped |= {clip: f"cluster_{box.key}"} if box.is_open else {}
    if wire.is_back and ends[0] != ends[1]:
        # Written in reverse, with the arrow at the other end. Otherwise Graphviz itself chooses the edge of a loop that
        # leads back, and may put the start at the far side.
        frame.edge(ends[1], ends[0], dir="back", **look)
    else:
        frame.edge(*ends, **look, **clipped)


def _label(lines: Sequence[str], end: str = "") -> str:
    r"""Return lines as a label that shows exactly that text.

    Graphviz reads backslashes, character references and text in angle brackets, so all are escaped.

    Args:
        lines: Results of `shown`, so without line breaks.
        end: The escape that ends a line and sets its alignment. Default: centred.
    """
    from graphviz import escape, nohtml

    escaped = [escape(line.replace("&", "&amp;")) for line in lines]
    label: str = nohtml(end.join([*escaped, ""]) if end else "\\n".join(escaped))
    return label
