"""The places that a stepper has been at, as a tree: an edit or another way on opens a branch, and nothing is lost."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..core.node import BaseNode
from ..core.text import class_name, message, plain_text, shown, text_of
from ..core.traversal import last_name
from ..engine.checkpoint import Checkpoint
from ..engine.position import Position
from ..runs.rewind import RunMark
from .place import Place
from .snapshots import Snapshot, Snapshots, changes, names
from .values import Copier, same

__all__ = ["Counts", "History", "Moment"]


@dataclass(frozen=True, slots=True)
class Counts:
    """Calls of ``exec``: made, answered by an earlier result, answered by the user."""

    called: int = 0
    replayed: int = 0
    mocked: int = 0

    def since(self, before: "Counts") -> "Counts":
        """Return how many more there are than before."""
        return Counts(self.called - before.called, self.replayed - before.replayed, self.mocked - before.mocked)


@dataclass(slots=True, eq=False)
class Moment:
    """One place, with all that it takes to go back there.

    Attributes:
        number: Its own, to go back by.
        parent: The one before it; None for the first.
        place: Where it is.
        node: The node that is visited.
        checkpoint: The position; None if it was discarded because the history is over its budget.
        snapshot: What ``shared`` held.
        record: How far the record was.
        counts: Calls on the way here from the one before it.
        code: Which code was there: a number that grows when some of it is edited.
        mask: The boundaries at which the step that led here could have stopped.
        edited: What the user changed here, in words; "" where this is no edit.
        output: What was printed on the way here.
        used: What the calls on the way here were found by, see `Replay`.
        size: About how many bytes it keeps beside the snapshot.
        children: What came after, in the order in which it was first done; following: the one that came last.
    """

    number: int
    parent: "Moment | None"
    place: Place
    node: BaseNode
    checkpoint: Checkpoint | None
    snapshot: Snapshot
    record: RunMark
    counts: Counts
    code: int
    mask: int
    edited: str = ""
    output: str = ""
    children: list["Moment"] = field(default_factory=list)
    following: "Moment | None" = None
    used: list[Any] = field(default_factory=list)
    size: int = 0
    _values: Any = None

    @property
    def begins_visit(self) -> bool:
        """Whether a visit begins here, and this is not its beginning once more, with an edit or a failure."""
        return self.place.phase == "before prep" and not self.edited and self.place.error is None

    def hold(self, position: Position) -> None:
        """Keep copies of what the hooks of the visit have returned so far, which the next hook may change in place."""
        frame, copier = position.frames[-1], Copier()
        of_shared = {id(version.original) for version in self.snapshot.values()}
        values = [None if id(v) in of_shared else v for v in (frame.prep_res, frame.exec_res)]
        self._values = copier.copy(values)
        self.size = copier.size

    def let_go(self) -> None:
        """Keep no more than the words."""
        self.checkpoint = self._values = None

    def put_values(self, position: Position, snapshots: Snapshots) -> None:
        """Give a position what the hooks had returned; what was a value of ``shared`` is that again."""
        if self._values is None:
            return
        frame = position.frames[-1]
        for name, kept in zip(("prep_res", "exec_res"), Copier().copy(self._values), strict=True):
            now = getattr(frame, name)
            of_shared = next((key for key, v in self.snapshot.items() if v.original is now), None)
            if of_shared is not None and snapshots.values is not None:
                setattr(frame, name, snapshots.values[of_shared])
            elif not hasattr(type(now), "__next__") and not same(now, kept):  # an iterator is split by the checkpoint
                setattr(frame, name, kept)


class History:
    """All moments of one stepper.

    Attributes:
        moments: By their numbers.
        now: Where the stepper is.
        dropped: How many cannot be gone back to any more.
    """

    def __init__(self, snapshots: Snapshots, budget: int) -> None:
        self._snapshots, self._budget = snapshots, budget
        self.moments: list[Moment] = []
        self.now: Moment = None  # type: ignore[assignment]
        self.dropped = self._held = 0

    def add(self, moment: Moment) -> None:
        """Go on to a new moment, and let go of the oldest where there is no room."""
        self.moments.append(moment)
        if moment.parent is not None:
            moment.parent.children.append(moment)
            moment.parent.following = moment
        self._snapshots.use(moment.snapshot)
        self.now = moment
        self._held += moment.size
        while self._snapshots.size + self._held > self._budget and self.dropped < len(self.moments) - 1:
            oldest = self.moments[self.dropped]
            oldest.let_go()
            self._snapshots.let_go(oldest.snapshot)
            self._held -= oldest.size
            self.dropped += 1

    def go(self, moment: Moment) -> None:
        """Be at a moment again."""
        self.now = moment
        while moment.parent is not None:
            moment.parent.following = moment
            moment = moment.parent

    def line(self) -> list[Moment]:
        """Return the moments from the first to where the stepper is."""
        found: list[Moment] = []
        moment: Moment | None = self.now
        while moment is not None:
            found.append(moment)
            moment = moment.parent
        return found[::-1]

    def walk(self) -> Iterator[tuple[Moment, int]]:
        """Go through the tree, each moment with the number of branches it is away from the first line."""
        todo = [(self.moments[0], 0)] if self.moments else []
        while todo:
            moment, depth = todo.pop()
            yield moment, depth
            for n, child in reversed(list(enumerate(moment.children))):
                todo.append((child, depth + (n > 0)))

    def tree(self) -> str:
        """Return all moments of all branches, a line each; an arrow shows where the stepper is."""
        lines = []
        for moment, depth in self.walk():
            place = moment.place
            which = "" if place.param_set is None else f", param set {place.param_set}"
            which += "" if place.item is None else f", item {place.item}"
            words = [f"{moment.number}: {shown(place.path, 320)}", f"visit {place.visit}{which}", place.phase]
            words += [moment.edited] if moment.edited else []
            words += [f"{place.failed}: {shown(class_name(place.error))}"] if place.error is not None else []
            words += ["mocked"] if moment.counts.mocked else []
            words += ["(let go of)"] if moment.checkpoint is None else []
            lines.append(f"{'->' if moment is self.now else '  '} {'  ' * depth}{message('  '.join(words))}")
        return "\n".join(lines)

    def rows(self) -> list[dict[str, Any]]:
        """Return what `Stepper.history` shows: each visit on the way here."""
        line = self.line()
        return [_row(moment, line[n + 1 :]) for n, moment in enumerate(line) if n == 0 or moment.begins_visit]


def _row(start: Moment, later: list[Moment]) -> dict[str, Any]:
    place = start.place
    visit: list[Moment] = []
    for moment in later:
        visit.append(moment)
        if moment.place.is_end or (moment.place.depth <= place.depth and moment.begins_visit):
            break
    last = visit[-1] if visit else start
    errors = [m.place.error for m in visit if m.place.error is not None and m.place.path == place.path]
    numbers = {
        "called": sum(moment.counts.called for moment in visit),
        "replayed": sum(moment.counts.replayed for moment in visit),
        "mocked": sum(moment.counts.mocked for moment in visit),
    }
    calls = [f"{n} {what}" if n > 1 else what for what, n in numbers.items() if n]
    calls += ["edited"] * any(moment.edited for moment in visit)
    failed = "failed" if errors else ""
    action, status, seconds = start.record.first_visit(last.record, place.path) or (None, failed, None)
    return {
        "place": start.number,
        "path": place.path,
        "node": last_name(place.path),
        "visit": place.visit,
        "action": plain_text(action),
        "status": status,
        "seconds": seconds,
        "calls": ", ".join(calls),
        "changed": names(changes(start.snapshot, last.snapshot)) or "no change",
        "output": "".join(moment.output for moment in visit),
        "error": f"{class_name(errors[-1])}: {text_of(errors[-1])}" if errors and status == "failed" else None,
    }
