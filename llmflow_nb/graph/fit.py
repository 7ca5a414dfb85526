"""How well a drawing fits a cell, and a guess of it before the drawing is laid out."""

from collections.abc import Mapping, Sequence
from math import ceil

from .metrics import text_width
from .placing import LABEL_SIZE, Direction
from .sketch import Wire

__all__ = ["CELL", "SCALE", "SHRINKING", "guess_direction", "height_in_cell", "ranks_of", "spanned_ranks"]

SCALE = 1.1
"""The size of a drawing in pixels, for each unit of length: the name of a node is 12.65 pixels high."""
CELL = 900 / SCALE
"""The width of a cell."""
SHRINKING = 900.0
"""The cost of text that is shrunk to half its size, in height."""
GAP, LANE = 30.0, 40.0
"""The approximate space between two steps, and the space of an edge that passes them, with its label."""


def height_in_cell(width: float, height: float, cell: float = CELL) -> float:
    """Return the height of a drawing in a cell, and a fine if its text is shrunk."""
    scale = min(1.0, cell / width)
    return height * scale + SHRINKING * (1 / scale - 1)


def ranks_of(ids: Sequence[str], wires: Sequence[Wire]) -> dict[str, int]:
    """Return the rank of each step: the length of the longest way to it, without the edges that lead back."""
    following: dict[str, list[str]] = {id: [] for id in ids}
    missing = dict.fromkeys(ids, 0)  # the number of edges to a step that come from steps without a rank
    for wire in wires:
        if not wire.is_back:
            following[wire.tail].append(wire.head)
            missing[wire.head] += 1
    found = [id for id in ids if not missing[id]]
    ranks = dict.fromkeys(ids, 0)
    for id in found:  # grows as it is read
        for head in following[id]:
            ranks[head] = max(ranks[head], ranks[id] + 1)
            missing[head] -= 1
            if not missing[head]:
                found.append(head)
    return ranks


def spanned_ranks(ranks: Mapping[str, int], wires: Sequence[Wire]) -> int:
    """Return the number of ranks that all edges span together. The time of Graphviz grows with its square."""
    return sum(abs(ranks[wire.head] - ranks[wire.tail]) for wire in wires)


def guess_direction(
    sizes: Mapping[str, tuple[float, float]], wires: Sequence[Wire], ranks: Mapping[str, int]
) -> Direction:
    """Guess which direction fits a cell better. For random flows, it is the better one in 19 of 20."""
    count = max(ranks.values()) + 1
    widest, highest, labels, all_widths, all_heights = ([0.0] * count for _ in range(5))
    for id, (width, height) in sizes.items():
        rank = ranks[id]
        widest[rank], highest[rank] = max(widest[rank], width), max(highest[rank], height)
        all_widths[rank] += width + GAP
        all_heights[rank] += height + GAP
    for wire in wires:
        first, last = sorted((ranks[wire.tail], ranks[wire.head]))
        labels[first] = max(labels[first], text_width(wire.label, LABEL_SIZE))
        for rank in range(first + 1, last):
            all_widths[rank] += LANE
            all_heights[rank] += LANE
    across = sum(widest) + sum(labels) + GAP * count
    down = sum(highest) + GAP * count
    in_rows = max(all_heights) * ceil(across / CELL)
    across_cost = min(in_rows, height_in_cell(across, max(all_heights)))
    return "LR" if across_cost < height_in_cell(max(all_widths), down) else "TB"
