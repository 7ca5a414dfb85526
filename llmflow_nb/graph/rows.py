"""Cut a long chain into rows.

A flow that runs from left to right may be far wider than a cell. It is cut where few edges cross, its parts are set
below each other, and each edge that crossed a cut is joined by a line along the gap between two rows.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from math import ceil, dist, inf, isclose

from .placing import Cubic, Placing, Point, shifted, straight

__all__ = ["in_rows"]

MAX_CROSSINGS = 4
"""A cut may cross this number of edges."""
FINE = 0.06
"""The cost of each further edge that crosses a cut. A row that is a tenth too wide or too narrow costs 0.01."""
GAP, LANE, RADIUS = 12.0, 6.0, 5.0
"""The space between a row and a line beside it, between two such lines, and the radius of their corners."""
LABEL_HEIGHT = 14.0


def in_rows(placing: Placing, widths: Mapping[str, float], limit: float) -> Iterator[tuple[int, Placing]]:
    """Yield the flow in rows that fit the limit, if it can be cut: in the fewest rows, and in one more.

    With each comes the number of edges that continue in another row.

    Args:
        placing: A flow from left to right.
        widths: The width of each label, by the key of its wire.
        limit: The largest width of a row.
    """
    if placing.width <= limit:
        return
    cuts = list(_possible_cuts(placing, widths))
    fewest = ceil(placing.width / (limit - 2 * GAP - 2 * LANE))
    for count in (fewest, fewest + 1):
        chosen = _best_cuts(cuts, placing.width, placing.width / count)
        if chosen:
            rows = _Rows(placing, chosen)
            yield sum(map(len, rows.crossings)), rows.stacked()


def _possible_cuts(placing: Placing, widths: Mapping[str, float]) -> Iterator[tuple[float, int]]:
    """Yield the places where no step and no label is cut, with the number of edges that cross there."""
    ends = [(a[0], d[0]) for route in placing.routes.values() for a, _, _, d in route]
    lefts, rights = sorted(map(min, ends)), sorted(map(max, ends))
    spans = [(x, x + placing.sizes[id][0]) for id, (x, _) in placing.corners.items()]
    spans += [(x - widths[id] / 2, x + widths[id] / 2) for id, (x, _) in placing.labels.items()]
    end = -inf
    for left, right in sorted(spans):
        if left > end > -inf:
            cut = (end + left) / 2
            crossings = bisect_left(lefts, cut) - bisect_left(rights, cut)
            if crossings <= MAX_CROSSINGS:
                yield cut, crossings
        end = max(end, right)


def _best_cuts(cuts: list[tuple[float, int]], width: float, fair: float) -> list[float]:
    """Return the cuts that make rows of about the width ``fair``, with few edges from row to row.

    Returns none if a row would be wider than twice that.
    """
    places = [0.0, *(place for place, _ in cuts), width]
    fines = [0.0, *(FINE * (crossings - 1) for _, crossings in cuts), 0.0]
    best = [(0.0, 0)]  # for each place: the cost of the best rows that end there, and where the last one starts
    for end in range(1, len(places)):
        starts = range(bisect_left(places, places[end] - 2 * fair, hi=end), end)
        costs = [(best[i][0] + ((places[end] - places[i]) / fair - 1) ** 2 + fines[end], i) for i in starts]
        best.append(min(costs, default=(inf, 0)))
    if best[-1][0] == inf:
        return []
    chosen = []
    at = best[-1][1]
    while at:
        chosen.append(places[at])
        at = best[at][1]
    return chosen[::-1]


class _Rows:
    """The parts of a flow between the cuts.

    Attributes:
        starts: Where each row begins in the flow before it was cut; the last is where the last row ends.
        tops: The upper end of each row.
        bottoms: The lower end of each row.
        parts: Each edge as its parts, one after the other: the row, and the curves in it.
        crossings: For each cut the edges that cross it: the height there, the id, the index of the part that begins.
    """

    def __init__(self, placing: Placing, cuts: list[float]) -> None:
        self.placing = placing
        self.cuts = cuts
        self.starts = [0.0, *cuts, placing.width]
        self.tops = [inf] * (len(cuts) + 1)
        self.bottoms = [-inf] * (len(cuts) + 1)
        for id, (x, y) in placing.corners.items():
            self._reach(self._row(x), y, y + placing.sizes[id][1])
        for x, y in placing.labels.values():
            self._reach(self._row(x), y - LABEL_HEIGHT / 2, y + LABEL_HEIGHT / 2)
        self.crossings: list[list[tuple[float, str, int]]] = [[] for _ in cuts]
        self.parts = {id: self._cut(id, route) for id, route in placing.routes.items()}

    def _row(self, x: float) -> int:
        return bisect_left(self.cuts, x)

    def _reach(self, row: int, top: float, bottom: float) -> None:
        self.tops[row] = min(self.tops[row], top)
        self.bottoms[row] = max(self.bottoms[row], bottom)

    def _cut(self, id: str, route: list[Cubic]) -> list[tuple[int, list[Cubic]]]:
        parts: list[tuple[int, list[Cubic]]] = []
        left, right = (pick(x for curve in route for x, _ in curve) for pick in (min, max))
        pieces = route
        for cut in self.cuts[bisect_left(self.cuts, left) : bisect_left(self.cuts, right)]:
            pieces = [piece for curve in pieces for piece in _split(curve, cut)]
        for piece in pieces:
            row = self._row((piece[0][0] + piece[3][0]) / 2)
            self._reach(row, min(y for _, y in piece), max(y for _, y in piece))
            if parts and parts[-1][0] == row:
                parts[-1][1].append(piece)
                continue
            if parts:
                self.crossings[min(row, parts[-1][0])].append((piece[0][1], id, len(parts)))
            parts.append((row, [piece]))
        return parts

    def stacked(self) -> Placing:
        """Return the flow with its rows below each other."""
        lanes = max(map(len, self.crossings))
        margin = GAP + LANE * (lanes - 1)
        shifts = []  # of each row: right and down
        y = 0.0
        for row, (top, bottom) in enumerate(zip(self.tops, self.bottoms, strict=True)):
            shifts.append((margin - self.starts[row], y - top))
            y += bottom - top
            if row < len(self.crossings):
                y += 2 * GAP + LANE * (len(self.crossings[row]) - 1)
        width = max(b - a for a, b in zip(self.starts, self.starts[1:], strict=False)) + 2 * margin

        def moved(point: Point) -> Point:
            dx, dy = shifts[self._row(point[0])]
            return point[0] + dx, point[1] + dy

        joints = self._joints(shifts, margin)
        routes: dict[str, list[Cubic]] = {}
        for id, parts in self.parts.items():
            routes[id] = []
            for i, (row, curves) in enumerate(parts):
                routes[id] += joints.get((id, i), ())
                dx, dy = shifts[row]
                routes[id] += [shifted(curve, dx, dy) for curve in curves]
        old = self.placing
        corners = {id: moved(corner) for id, corner in old.corners.items()}
        labels = {id: moved(centre) for id, centre in old.labels.items()}
        return Placing(width, y, corners, old.sizes, routes, labels, old.inner)

    def _joints(self, shifts: list[Point], margin: float) -> dict[tuple[str, int], list[Cubic]]:
        """Return the lines between two rows, by the edge and the index of the part that they lead to.

        Lines that cross the same cut do not cross each other: the lowest turns down first, and goes on outermost.
        """
        joints = {}
        for cut, crossings in enumerate(self.crossings):
            (dx, dy), (next_dx, next_dy) = shifts[cut], shifts[cut + 1]
            for lane, (y, id, part) in enumerate(sorted(crossings, reverse=True)):
                right = self.cuts[cut] + dx
                left = self.cuts[cut] + next_dx
                outer = right + LANE * lane + RADIUS
                inner = left - margin + LANE * lane + RADIUS
                between = self.bottoms[cut] + dy + GAP + LANE * lane
                points = [(right, y + dy), (outer, y + dy), (outer, between)]
                points += [(inner, between), (inner, y + next_dy), (left, y + next_dy)]
                if self.parts[id][part][0] == cut:  # an edge that leads back
                    points.reverse()
                joints[id, part] = list(_rounded(points))
        return joints


def _split(curve: Cubic, x: float) -> list[Cubic]:
    """Return the parts of a curve on the two sides of a vertical line."""
    a, d = curve[0], curve[3]
    if (a[0] < x) == (d[0] < x) or isclose(a[0], x) or isclose(d[0], x):
        return [curve]
    low, high = 0.0, 1.0
    for _ in range(30):
        t = (low + high) / 2
        if (_halves(curve, t)[0][3][0] < x) == (a[0] < x):
            low = t
        else:
            high = t
    first, second = _halves(curve, high)
    at = (x, first[3][1])
    return [(*first[:3], at), (at, *second[1:])]


def _halves(curve: Cubic, t: float) -> tuple[Cubic, Cubic]:
    """Return a curve in two parts, after a share ``t`` of it (de Casteljau's algorithm)."""
    a, b, c, d = curve
    ab, bc, cd = _between(a, b, t), _between(b, c, t), _between(c, d, t)
    abc, bcd = _between(ab, bc, t), _between(bc, cd, t)
    middle = _between(abc, bcd, t)
    return (a, ab, abc, middle), (middle, bcd, cd, d)


def _between(a: Point, b: Point, t: float) -> Point:
    return a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t


def _rounded(points: list[Point]) -> Iterator[Cubic]:
    """Yield a line through the points with round corners."""
    at = points[0]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        room, further = dist(before, corner), dist(corner, after)
        radius = min(RADIUS, room / 2, further / 2)
        if radius > 0.1:
            start, end = _between(corner, before, radius / room), _between(corner, after, radius / further)
            yield straight(at, start)
            yield start, _between(start, corner, 0.55), _between(end, corner, 0.55), end
            at = end
    yield straight(at, points[-1])
