"""Lay out a graph: each flow on its own, as one box of fixed size in the flow around it.

Graphviz lays out the flows, the innermost first, from left to right and from top to bottom. A long flow is also cut
into rows. The layout that is lowest at the width of a cell is used. No edge crosses the frame of a flow, so each flow
can be laid out on its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from .fit import CELL, SCALE, SHRINKING, guess_direction, height_in_cell, ranks_of, spanned_ranks
from .metrics import text_width
from .model import GraphData
from .placing import Direction, Job, Placing, dot_text, read_placing
from .render import TooSlowError, coordinates
from .rows import in_rows
from .sketch import START, TOP, Box, Sketch, is_ring

__all__ = ["HEAD", "HEAD_SIZE", "LINE", "NAME_SIZE", "NOTE_SIZE", "PAD", "head_width", "layout_of"]

NAME_SIZE, NOTE_SIZE, HEAD_SIZE = 11.5, 9.5, 10.5
"""Font sizes: the name in a box, the notes below it, the head of a frame."""
LINE = 12.5
"""The height of a line of notes."""
PAD, HEAD = 12.0, 22.0
"""The space inside a frame, and above that for its head."""
_DOT, _RING = (8.0, 8.0), (10.0, 10.0)

MANY = 40
"""A flow with more edges is laid out in one direction only, which is guessed."""
TANGLED = 1_500
"""If the edges of a flow span more ranks than this, Graphviz would take seconds, and is told to hurry."""
ROWS_FROM = 14
"""A flow with fewer steps is not cut into rows."""
CROSSING = 15.0
"""The cost of each edge that continues in another row, in height."""
LEAST, UNREADABLE = 9.0, 150.0
"""The least size of text in rows, in pixels, and the cost of smaller text. More rows would make it larger."""

_Best = dict[Direction, tuple[float, Placing]]
"""The best placing in each direction, with its cost."""


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
    best: dict[str, _Best] = {}

    def place(flows: Mapping[str, Sequence[str]], cell: float) -> None:
        jobs = [(id, job) for id, steps in flows.items() for job in _jobs(sketch, id, steps, best, directions)]
        try:
            places = coordinates([dot_text(job) for _, job in jobs], backend)
        except TooSlowError:
            places = coordinates([dot_text(replace(job, is_hasty=True)) for _, job in jobs], backend)
        for (id, job), found in zip(jobs, places, strict=True):
            of_flow = best.setdefault(id, {})
            options = list(_options(read_placing(found, job), job, cell, model.style.direction is None))
            options += [of_flow[job.direction]] if job.direction in of_flow else []
            of_flow[job.direction] = min(options, key=lambda option: option[0])

    for depth in sorted(levels, reverse=True):
        place({id: members[id] for id in levels[depth]}, max(CELL / 2, CELL - 2 * PAD * (depth + 1)))
    outermost = [node.id for node in model.nodes if node.parent is None]
    root = outermost[0]
    if root not in members:  # a node, with the nodes that it leads to, or a flow without steps
        place({TOP: outermost}, CELL)
        return _lowest(best[TOP])[1]
    inner = {root: _lowest(best[root])[1]}
    sizes = {root: _size(sketch.boxes[root], inner[root])}
    return Placing(*sizes[root], {root: (0.0, 0.0)}, sizes, {}, {}, inner)


def _jobs(
    sketch: Sketch, flow: str, steps: Sequence[str], best: Mapping[str, _Best], directions: Sequence[Direction]
) -> Iterator[Job]:
    """Yield the ways in which a flow is laid out. All its inner flows have the same direction, as far as possible."""
    wires = sketch.wires[flow]
    is_small = len(wires) <= MANY
    inner_flows = [step for step in steps if step in best]
    for inner_direction in directions if inner_flows else directions[:1]:
        inner = {step: best[step].get(inner_direction, _lowest(best[step]))[1] for step in inner_flows}
        sizes = {START: _DOT} if any(wire.tail == START for wire in wires) else {}
        sizes |= {step: _size(sketch.boxes[step], inner.get(step)) for step in steps}
        sizes |= {wire.head: _RING for wire in wires if is_ring(wire.head)}
        if is_small:
            yield from (Job(sizes, wires, inner, direction) for direction in directions)
            continue
        ranks = ranks_of(list(sizes), wires)
        direction = guess_direction(sizes, wires, ranks) if len(directions) > 1 else directions[0]
        yield Job(sizes, wires, inner, direction, is_hasty=spanned_ranks(ranks, wires) > TANGLED)


def _options(placing: Placing, job: Job, cell: float, may_be_cut: bool) -> Iterator[tuple[float, Placing]]:
    """Yield a placing and, if it is long, the same in rows. Each comes with its cost."""
    yield height_in_cell(placing.width, placing.height, cell), placing
    # Rows are at least as high as the flow that is cut. In a high one, larger text costs more than it saves.
    is_high = placing.height * (cell / placing.width) ** 2 >= SHRINKING
    if may_be_cut and job.direction == "LR" and not is_high and placing.count() >= ROWS_FROM:
        for crossings, rows in in_rows(placing, job.widths, cell):
            fine = CROSSING * crossings + UNREADABLE * (rows.width * LEAST > cell * NOTE_SIZE * SCALE)
            yield height_in_cell(rows.width, rows.height, cell) + fine, rows


def _lowest(placings: _Best) -> tuple[float, Placing]:
    return min(placings.values(), key=lambda option: option[0])


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
