"""The drawing as SVG. Every element and attribute is written here, and every text is escaped here.

Colours are attributes, which every program shows. A style sheet replaces them in a dark notebook: its media query
follows the colour scheme of the element around the image.
"""

import hashlib
from collections.abc import Iterator
from html import escape
from math import hypot

from ..core.text import shown
from .fit import SCALE
from .layout import HEAD, HEAD_SIZE, LINE, NAME_SIZE, NOTE_SIZE, PAD, head_width, layout_of
from .metrics import text_width
from .model import FLOWS, PLAIN_CLASS, GraphData
from .placing import LABEL_SIZE, Cubic, Placing, Point, shifted
from .render import DrawingError
from .sketch import END, START, TOP, Box, Sketch, Wire, is_ring, sketch_of
from .style import COLOURS, FONT, GREY, INK, SOFT, WRONG

__all__ = ["svg_of"]

_FRAME, _FRAME_LINE = "#64748b", "#b6bcc6"
# Rules of the style sheet: elements, their property, its value. A stepper marks a box by the class of its state.
_STATES = [name for name in COLOURS if name not in PLAIN_CLASS]
# Where a page does not say what its colours are, an image follows the system. So both forms have a ground of their own.
_LIGHT = [
    *((f".box.{name}>rect", "fill", COLOURS[name][0]) for name in _STATES),
    *((f".{kind}.{name}>rect", "stroke", COLOURS[name][1]) for name in _STATES for kind in ("box", "frame")),
]
_LIGHT += [(f".{kind}.wrong>rect", "stroke", WRONG) for kind in ("box", "frame")]
_DARK = [
    (".page", "fill", "#16181c"),
    (".soft", "fill", "#a9b1bd"),
    (".name", "fill", "#e5e7eb"),
    (".line", "stroke", "#7d8590"),
    (".ring", "stroke", "#7d8590"),
    (".tip", "fill", "#7d8590"),
    (".dot", "fill", "#7d8590"),
    (".frame>rect", "stroke", "#4b5563"),
    (".frame>rect", "fill-opacity", "0.16"),
    *((f".box.{name}>rect", "fill", fill) for name, (_, _, fill, _) in COLOURS.items()),
    *((f".box.{name}>rect", "stroke", line) for name, (_, _, _, line) in COLOURS.items()),
    *((f".frame.{name}>rect", "stroke", COLOURS[name][3]) for name in _STATES),
    (".box.wrong>rect", "stroke", "#ff7b72"),
    (".frame.wrong>rect", "stroke", "#ff7b72"),
    (".wrong>.line", "stroke", "#ff7b72"),
    (".wrong>.tip", "fill", "#ff7b72"),
    (".wrong>.soft", "fill", "#ff7b72"),
]


def _rules(table: list[tuple[str, str, str]]) -> str:
    return "".join(f".llmflow-graph {elements}{{{name}:{value}}}" for elements, name, value in table)


_STYLE = f"<style>{_rules(_LIGHT)}@media (prefers-color-scheme:dark){{{_rules(_DARK)}}}</style>"
_MARGIN = 4.0
_ARROW, _HALF_ARROW = 6.5, 2.7
_BASELINE = 16.0
"""From the top of a box to the baseline of its name."""
_BEHIND = 3.0
"""The distance between the two outlines of what runs for each item or param set."""
_ID = "\0"
"""Stands for the prefix of all ids until the hash is known. No text holds it: `shown` shows it as an escape."""


def svg_of(model: GraphData, backend: str | None = None) -> str:
    """Draw the graph. See `GraphModel.svg`.

    Raises:
        SettingError: Unknown backend.
        DrawingError: No backend is available, or it failed; says what to do.
    """
    root = model.nodes[0]
    sketch = sketch_of(model)
    try:
        placing = layout_of(model, sketch, backend)
    except DrawingError as exc:
        raise DrawingError(f"{shown(root.name)} cannot be drawn: {exc}. Use outline() or dot().") from None
    flow = TOP
    if sketch.boxes[root.id].is_bare and len(placing.corners) == 1:
        flow, placing = root.id, placing.inner[root.id]
    parts = list(_flat(_Painter(sketch).steps(flow, placing, _MARGIN, _MARGIN)))
    width, height = placing.width + 2 * _MARGIN, placing.height + 2 * _MARGIN
    for line in sketch.legend:
        height += LINE
        width = max(width, text_width(line, LABEL_SIZE) + 2 * _MARGIN)
        parts.append(_text(line, _MARGIN, height - _MARGIN, LABEL_SIZE, "soft", anchor="start"))
    page = f'<rect class="page" width="{width:.0f}" height="{height:.0f}" rx="8" fill="#ffffff"/>'
    body = f'<g id="{_ID}all" class="graph">{page}\n{"".join(parts)}</g>{_STYLE}'
    # The ids begin with a hash of the drawing, so that two drawings in one page do not share an id.
    prefix = f"g{hashlib.sha256(body.encode(errors='replace')).hexdigest()[:10]}-"
    size = f'width="{width * SCALE:.0f}" height="{height * SCALE:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    body = body.replace(_ID, prefix)
    return f'<svg xmlns="http://www.w3.org/2000/svg" class="llmflow-graph" {size} font-family="{FONT}">{body}</svg>'


_Parts = Iterator["str | _Parts"]


def _flat(parts: _Parts) -> Iterator[str]:
    """Yield the strings of nested iterators, which may be nested deeper than Python's recursion limit."""
    stack = [parts]
    while stack:
        for part in stack[-1]:
            if not isinstance(part, str):
                stack.append(part)
                break
            yield part
        else:
            stack.pop()


class _Painter:
    """Yields the elements of a sketch at their places."""

    def __init__(self, sketch: Sketch) -> None:
        self.boxes, self.wires = sketch.boxes, sketch.wires

    def steps(self, flow: str, placing: Placing, x: float, y: float) -> _Parts:
        """Yield the inside of a flow, whose top left corner is at ``x``, ``y``."""
        for wire in self.wires[flow]:
            route = [shifted(curve, x, y) for curve in placing.routes[wire.key]]
            label = placing.labels.get(wire.key)
            yield _wire(wire, route, label and (label[0] + x, label[1] + y))
        key = "" if flow == TOP else self.boxes[flow].key
        for id, (left, top) in placing.corners.items():
            width, height = placing.sizes[id]
            centre = x + left + width / 2, y + top + height / 2
            if id == START:
                yield f'<g id="{_ID}s{key}" class="node">{_ellipse(centre, 4.0, "dot")}</g>\n'
            elif is_ring(id):
                ring = _ellipse(centre, 2.2, "dot") + _ellipse(centre, 4.5, "ring")
                number = id.removeprefix(END)
                yield f'<g id="{_ID}z{key}{"r" * bool(number)}{number}" class="node">{ring}</g>\n'
            else:
                yield self.box(id, placing, x + left, y + top)

    def box(self, id: str, placing: Placing, x: float, y: float) -> _Parts:
        """Yield a node, or the frame of a flow and its inside. Its top left corner is at ``x``, ``y``."""
        box, (width, height) = self.boxes[id], placing.sizes[id]
        look = "own" if box.colours else box.state or box.kind
        form = "cluster frame" if box.is_open else "node box closed" if box.is_closed else "node box"
        wrong = " wrong" if box.is_wrong else ""
        yield f'<g id="{_ID}{box.key}" class="{form} {look}{wrong}"><title>{escape(box.title)}</title>'
        ink = box.colours.get("fontcolor", INK if box.colours else "")
        if box.is_open:
            yield _rect(box, x, y, width, height, 8)
            if box.kind == "batch_flow":
                yield _rect(
                    box, x + _BEHIND, y + _BEHIND, width - 2 * _BEHIND, height - 2 * _BEHIND, 6, is_filled=False
                )
            at = x + PAD
            for i, line in enumerate(box.lines):
                kind, weight = ("soft", "") if i else ("name", "600")
                kind = "" if box.colours else kind
                yield _text(line, at, y + _BASELINE, HEAD_SIZE, kind, ink, anchor="start", weight=weight)
                at += head_width(line)
        else:
            if box.kind in ("batch_node", "batch_flow"):
                yield _rect(box, x + _BEHIND, y - _BEHIND, width, height, 5)
            yield _rect(box, x, y, width, height, 5)
            for i, line in enumerate(box.lines):
                size, kind = (NOTE_SIZE, "soft") if i else (NAME_SIZE, "name")
                kind = "" if box.colours else kind
                yield _text(line, x + width / 2, y + _BASELINE + LINE * i, size, kind, ink)
        yield "</g>\n"
        if box.is_open:
            inner = placing.inner[id]
            yield self.steps(id, inner, x + (width - inner.width) / 2, y + HEAD)


def _rect(box: Box, x: float, y: float, width: float, height: float, radius: float, *, is_filled: bool = True) -> str:
    fill, line, _, _ = COLOURS[box.state or box.kind]
    opacity = ""
    if box.is_open:
        fill, line, opacity = _FRAME, line if box.is_visited else _FRAME_LINE, ' fill-opacity="0.08"'
    line = WRONG if box.is_wrong else line
    if "fillcolor" in box.colours:
        fill, opacity = box.colours["fillcolor"], ""
    if not is_filled:
        fill, opacity = "none", ""
    line = box.colours.get("color", line)
    is_dashed = box.is_wrong or (box.kind in FLOWS and not box.is_open)
    dashes = ' stroke-dasharray="5,2"' if is_dashed else ""
    thick = box.colours.get("penwidth", "1.5" if box.is_visited and box.is_open else "")
    thickness = f' stroke-width="{thick}"' if thick else ""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{radius:g}" '
        f'fill="{fill}"{opacity} stroke="{line}"{dashes}{thickness}/>'
    )


def _text(
    text: str, x: float, y: float, size: float, kind: str, ink: str = "", *, anchor: str = "middle", weight: str = ""
) -> str:
    """Return a line of text. ``kind`` is "name" or "soft"; "" keeps the colour ``ink`` in the dark too."""
    colour = f'class="{kind}" ' * bool(kind) + f'fill="{ink or (INK if kind == "name" else SOFT)}"'
    bold = f' font-weight="{weight}"' if weight else ""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-size="{size:g}" {colour}{bold}>{escape(text)}</text>'


def _ellipse(centre: Point, radius: float, kind: str) -> str:
    colour = f'fill="{GREY}"' if kind == "dot" else f'fill="none" stroke="{GREY}"'
    place = f'cx="{centre[0]:.1f}" cy="{centre[1]:.1f}" rx="{radius:g}" ry="{radius:g}"'
    return f'<ellipse class="{kind}" {place} {colour}/>'


def _wire(wire: Wire, route: list[Cubic], label: Point | None) -> str:
    """Return an edge: its line, the tip of its arrow and its label."""
    colour = WRONG if wire.is_wrong else GREY
    *line, arrow = route
    look = ' stroke-width="2.5"' if wire.is_taken else ' stroke-width="1.1"'
    look += ' stroke-dasharray="5,2"' if wire.is_wrong else ' stroke-dasharray="1,3"' if wire.is_unused else ""
    path = f'<path class="line" fill="none" stroke="{colour}"{look} d="{_path(line)}"/>'
    tip = f'<polygon class="tip" fill="{colour}" points="{_tip(arrow)}"/>'
    words = (
        "" if label is None else _text(wire.label, label[0], label[1] + 3, LABEL_SIZE, "soft", WRONG * wire.is_wrong)
    )
    return f'<g id="{_ID}{wire.key}" class="edge{" wrong" if wire.is_wrong else ""}">{path}{tip}{words}</g>\n'


def _path(curves: list[Cubic]) -> str:
    parts = [f"M{curves[0][0][0]:.1f},{curves[0][0][1]:.1f}"]
    parts += (f"C{b[0]:.1f},{b[1]:.1f} {c[0]:.1f},{c[1]:.1f} {d[0]:.1f},{d[1]:.1f}" for _, b, c, d in curves)
    return "".join(parts)


def _tip(arrow: Cubic) -> str:
    """Return the corners of an arrow whose tip is the end of the curve."""
    (from_x, from_y), (x, y) = arrow[0], arrow[3]
    length = hypot(x - from_x, y - from_y) or 1.0
    dx, dy = (x - from_x) / length, (y - from_y) / length
    back_x, back_y = x - _ARROW * dx, y - _ARROW * dy
    side_x, side_y = -_HALF_ARROW * dy, _HALF_ARROW * dx
    corners = (x, y), (back_x + side_x, back_y + side_y), (back_x - side_x, back_y - side_y)
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in corners)
