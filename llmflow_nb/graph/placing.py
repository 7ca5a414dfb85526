"""Place the steps and edges of one flow: plain data, its DOT text, and how to read the result of Graphviz.

Graphviz gets numbers only: how large each step and each label is. So no text of a user can be read as DOT, and the
result does not depend on the fonts of the machine.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

from .metrics import text_width
from .sketch import START, Wire, is_ring

__all__ = [
    "LABEL_SIZE",
    "Cubic",
    "Direction",
    "Job",
    "Placing",
    "Point",
    "dot_text",
    "read_placing",
    "shifted",
    "straight",
]

Direction = Literal["LR", "TB"]
Point = tuple[float, float]
Cubic = tuple[Point, Point, Point, Point]
"""A cubic Bézier curve: its start, two control points, its end."""

LABEL_SIZE = 9.5
"""The font size of labels."""
LETTER = 5.4
"""The width of a letter of 9 points in Courier, for which all versions of Graphviz have the same width."""
INCH = 72.0


@dataclass(frozen=True, slots=True)
class Job:
    """A flow to be placed.

    Attributes:
        sizes: The width and height of each step, by its id, and of the dot and the ring.
        wires: Its edges.
        inner: The placings of the steps that are open flows, by their ids.
        direction: "LR" from left to right, "TB" from top to bottom.
        is_hasty: Whether to prefer a fast, plainer drawing with straight edges, since a better one would take seconds.
    """

    sizes: Mapping[str, tuple[float, float]]
    wires: Sequence[Wire]
    inner: Mapping[str, "Placing"]
    direction: Direction
    is_hasty: bool = False

    @property
    def widths(self) -> dict[str, float]:
        """The width of each label, by the key of its wire."""
        return {wire.key: text_width(wire.label, LABEL_SIZE) + 6 for wire in self.wires if wire.label}


@dataclass(frozen=True, slots=True)
class Placing:
    """The steps of one flow, placed. Lengths are in the unit of the font sizes, from the top left corner, y downwards.

    Attributes:
        width: The width of the flow.
        height: The height of the flow.
        corners: The top left corner of each step, by its id.
        sizes: The width and height of each step, by its id.
        routes: The curves of each edge, by the key of its wire. The last one is its arrow.
        labels: The centre of each label, by the key of its wire.
        inner: The placings of the steps that are open flows, by their ids.
    """

    width: float
    height: float
    corners: dict[str, Point]
    sizes: Mapping[str, tuple[float, float]]
    routes: dict[str, list[Cubic]]
    labels: dict[str, Point]
    inner: Mapping[str, "Placing"]

    def count(self) -> int:
        """Return the number of steps, those of inner flows included."""
        steps = [id for id in self.corners if id != START and not is_ring(id)]
        return len(steps) + sum(placing.count() for placing in self.inner.values())


def dot_text(job: Job) -> str:
    """Return the DOT text of one flow."""
    ranksep = 0.3 if job.direction == "LR" else 0.22
    ids = {id: f"m{i}" for i, id in enumerate(job.sizes)}
    lines = [
        f"digraph {{ graph [rankdir={job.direction} nodesep=0.22 ranksep={ranksep} margin=0 pad=0]",
        "nslimit=0 mclimit=0.1 splines=line" * job.is_hasty,
        'node [shape=box fixedsize=true label=""] edge [fontname=Courier fontsize=9 arrowsize=0.6]',
    ]
    for id, (width, height) in job.sizes.items():
        lines.append(f"{ids[id]} [width={width / INCH:.4f} height={height / INCH:.4f}]")
    widths = job.widths
    ways = {(wire.tail, wire.head) for wire in job.wires}
    for i, wire in enumerate(job.wires):
        tail, head = ids[wire.tail], ids[wire.head]
        weight = 4 if wire.tail == START else 1 if is_ring(wire.head) else 2 if wire.label else 3
        attributes = f"id={i} weight={weight}"
        if wire.key in widths:
            attributes += f' label="{"x" * ceil(widths[wire.key] / LETTER)}"'
        if wire.is_back and wire.tail != wire.head:
            # Written in reverse, with the arrow at the other end: otherwise Graphviz itself chooses the edge of a loop
            # that leads back. It leaves at the side, apart from an edge the other way.
            tail, head, attributes = head, tail, f"{attributes} dir=back"
            if (wire.head, wire.tail) in ways:
                side = "s" if job.direction == "LR" else "e"
                attributes += f" tailport={side} headport={side}"
        lines.append(f"{tail} -> {head} [{attributes}]")
    lines.append("}")
    return "\n".join(lines)


def read_placing(found: dict[str, Any], job: Job) -> Placing:
    """Read the result of Graphviz in its format "json0" (https://graphviz.org/docs/outputs/json/)."""
    left, low, right, high = map(float, found["bb"].split(","))
    ids = list(job.sizes)

    def point(text: str) -> Point:
        x, y = map(float, text.split(","))
        return x - left, high - y

    corners = {}
    for node in found["objects"]:
        id = ids[int(node["name"][1:])]
        (x, y), (width, height) = point(node["pos"]), job.sizes[id]
        corners[id] = x - width / 2, y - height / 2
    routes, labels = {}, {}
    for edge in found.get("edges", ()):
        wire = job.wires[int(edge["id"])]
        points = [point(text) for text in edge["pos"].split() if text[0] not in "es"]
        tip = next(point(text[2:]) for text in edge["pos"].split() if text[0] in "es")
        if wire.is_back and wire.tail != wire.head:
            points.reverse()
        routes[wire.key] = [*_cubics(points), straight(points[-1], tip)]
        if wire.label:
            labels[wire.key] = point(edge["lp"])
    return Placing(right - left, high - low, corners, job.sizes, routes, labels, job.inner)


def _cubics(points: Sequence[Point]) -> Iterator[Cubic]:
    """Yield the curves of a spline: each starts where the one before ends."""
    for i in range(0, len(points) - 1, 3):
        a, b, c, d = points[i : i + 4]
        yield a, b, c, d


def straight(start: Point, end: Point) -> Cubic:
    """Return a straight line as a curve."""
    (x, y), (to_x, to_y) = start, end
    dx, dy = (to_x - x) / 3, (to_y - y) / 3
    return start, (x + dx, y + dy), (to_x - dx, to_y - dy), end


def shifted(curve: Cubic, x: float, y: float) -> Cubic:
    """Return a curve further right and down."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = curve
    return (ax + x, ay + y), (bx + x, by + y), (cx + x, cy + y), (dx + x, dy + y)
