"""Lay out a graph: each flow on its own, as one box of fixed size in the flow around it.

Graphviz lays out the flows, the innermost first, from left to right and from top to bottom. A long flow is also cut
into rows. The layout that is lowest at the width of a cell is used. No edge crosses the frame of a flow, so each flow
can be laid out on its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil

from .metrics import text_width
from .model import GraphData
from .placing import Direction, Job, Placing, dot_text, read_placing
from .render import coordinates
from .rows import in_rows
from .sketch import END, START, TOP, Box, Sketch, Wire

__all__ = ["HEAD", "HEAD_SIZE", "LINE", "NAME_SIZE", "NOTE_SIZE", "PAD", "SCALE", "head_width", "layout_of"]

SCALE = 1.1
"""The size of a drawing in pixels, for each unit of length: the name of a node is 12.65 pixels high."""
CELL = 900 / SCALE
"""The width of a cell."""
SHRINKING = 900.0
"""The cost of text that is shrunk to half its size, in height."""
NAME_SIZE, NOTE_SIZE, HEAD_SIZE = 11.5, 9.5, 10.5
"""Font sizes: the name in a box, the notes below it, the head of a frame."""
LINE = 12.5
"""The height of a line of notes."""
PAD, HEAD = 12.0, 22.0
"""The space inside a frame, and above that for its head."""
_DOT, _RING = (8.0, 8.0), (10.0, 10.0)

LARGE = 150
"""The number of nodes from which on each flow is laid out in one direction only."""
GAP = 22.0
"""The approximate space between two steps."""

_Best = dict[Direction, Placing]


def layout_of(model: GraphData, sketch: Sketch, backend: str | None = None) -> Placing:
    """Lay out a graph. The outermost nodes are the steps of the placing that is returned.

    Raises:
        SettingError: Unknown backend.
        DrawingError: No backend is available, or it failed; says what to do.
    """
    members = {cluster.id: cluster.members for cluster in model.clusters if cluster.members}
    levels: dict[int, list[str]] = {}
    for node, depth, is_end in model.walk():
        if node.id in members and not is_end:
            levels.setdefault(depth, []).append(node.id)
    directions: tuple[Direction, ...] = ("LR", "TB")
    if model.style.direction:
        directions = ("LR",) if model.style.direction == "LR" else ("TB",)
    is_large = len(model.nodes) > LARGE
    best: dict[str, _Best] = {}

    def place(flows: Mapping[str, Sequence[str]], cell: float) -> None:
        jobs = []
        for id, steps in flows.items():
            for sizes, inner in _ways(sketch, id, steps, best, directions):
                tried = (_guess(sizes, sketch.wires[id]),) if is_large and len(directions) > 1 else directions
                jobs += [(id, Job(sizes, sketch.wires[id], inner, direction)) for direction in tried]
        for (id, job), found in zip(jobs, coordinates([dot_text(job) for _, job in jobs], backend), strict=True):
            options = [read_placing(found, job)]
            # Rows are at least as high as the flow that is cut. In a high one, larger text costs more than it saves.
            is_high = options[0].height * (cell / options[0].width) ** 2 >= SHRINKING
            if job.direction == "LR" and not model.style.direction and not is_high:
                options += in_rows(options[0], job.widths, cell)
            of_flow = best.setdefault(id, {})
            options += [of_flow[job.direction]] if job.direction in of_flow else []
            of_flow[job.direction] = min(options, key=lambda option: _cost(option, cell))

    for depth in sorted(levels, reverse=True):
        place({id: members[id] for id in levels[depth]}, max(CELL / 2, CELL - 2 * PAD * (depth + 1)))
    outermost = [node.id for node in model.nodes if node.parent is None]
    root = outermost[0]
    if root not in members:  # a node, with the nodes that it leads to, or a flow without steps
        place({TOP: outermost}, CELL)
        return _lowest(best[TOP])
    inner = {root: _lowest(best[root])}
    sizes = {root: _size(sketch.boxes[root], inner[root])}
    return Placing(*sizes[root], {root: (0.0, 0.0)}, sizes, {}, {}, inner)


def _ways(
    sketch: Sketch, flow: str, steps: Sequence[str], best: Mapping[str, _Best], directions: Sequence[Direction]
) -> Iterator[tuple[dict[str, tuple[float, float]], dict[str, Placing]]]:
    """Yield the sizes of all steps and the placings of the inner flows, which all have the same direction."""
    inner_flows = [step for step in steps if step in best]
    for direction in directions if inner_flows else directions[:1]:
        inner = {step: best[step].get(direction) or _lowest(best[step]) for step in inner_flows}
        sizes = {START: _DOT} if any(wire.tail == START for wire in sketch.wires[flow]) else {}
        sizes |= {step: _size(sketch.boxes[step], inner.get(step)) for step in steps}
        sizes |= {END: _RING} if any(wire.head == END for wire in sketch.wires[flow]) else {}
        yield sizes, inner


def _lowest(placings: _Best) -> Placing:
    return min(placings.values(), key=_cost)


def _guess(sizes: Mapping[str, tuple[float, float]], wires: Sequence[Wire]) -> Direction:
    """Guess the direction that fits a cell better, from the sizes of the steps at each distance from the start."""
    following: dict[str, list[str]] = {}
    for wire in wires:
        following.setdefault(wire.tail, []).append(wire.head)
    rank = [START] if START in sizes else list(sizes)[:1]
    seen = set(rank)
    across = down = most_across = most_down = 0.0
    while rank:
        widths, heights = zip(*map(sizes.__getitem__, rank), strict=True)
        across, most_across = across + max(widths) + GAP, max(most_across, sum(widths) + GAP * len(rank))
        down, most_down = down + max(heights) + GAP, max(most_down, sum(heights) + GAP * len(rank))
        rank = list(dict.fromkeys(head for id in rank for head in following.get(id, ()) if head not in seen))
        seen.update(rank)
    in_rows = most_down * ceil(across / CELL)
    return "LR" if in_rows < _height_in_cell(most_across, down) else "TB"


def _size(box: Box, placing: Placing | None) -> tuple[float, float]:
    """Return the width and height of a box, or of the frame around the steps of a flow."""
    name, *notes = box.lines
    if placing is None:
        width = max([text_width(name, NAME_SIZE), *(text_width(note, NOTE_SIZE) for note in notes)])
        return width + 20, 24 + LINE * len(notes)
    head = sum(map(head_width, box.lines))
    return max(placing.width, head) + 2 * PAD, placing.height + HEAD + PAD


def head_width(line: str) -> float:
    """Return the room for a line in the head of a frame. The lines of a box stand there beside each other."""
    return text_width(line, HEAD_SIZE) * 1.06 + 12


def _cost(placing: Placing, cell: float = CELL) -> float:
    return _height_in_cell(placing.width, placing.height, cell)


def _height_in_cell(width: float, height: float, cell: float = CELL) -> float:
    """Return the height of a drawing in a cell, and a fine if its text is shrunk."""
    scale = min(1.0, cell / width)
    return height * scale + SHRINKING * (1 / scale - 1)
