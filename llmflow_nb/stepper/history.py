"""The history of a stepper: a tree of entries. An edit, or running on from an earlier entry, begins a branch."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from ..core.copying import Copier
from ..core.errors import RunStateError
from ..core.node import BaseNode
from ..core.text import class_name, message, plain_text, shown, text_of
from ..core.traversal import last_name
from ..engine.checkpoint import Checkpoint
from ..engine.position import BEFORE_PREP, Position
from ..runs.recorder import RecordPoint
from .comparing import same
from .location import Location
from .replay import ANSWERS
from .snapshots import Snapshot, Snapshots, changes, names

__all__ = ["Activity", "History", "HistoryEntry", "SavedPosition"]


@dataclass(frozen=True, slots=True)
class Activity:
    """What ran between an entry and its parent."""

    output: str = ""  # what was printed
    seconds: float = 0.0  # what the hooks took
    counts: Counter[str] = field(default_factory=Counter)  # the calls, by how they were answered
    cache_keys: list[Any] = field(default_factory=list)  # of the calls, in the result cache
    failed_input: tuple[Any, ...] = ()  # what the failed call of exec was given; () if none failed, or if unknown


class SavedPosition:
    """A position at a boundary, with copies of what the hooks of the visit have returned so far.

    Copies, since the next hook may change a result in place. A value of ``shared`` is not copied here: the snapshot of
    the entry has it.
    """

    __slots__ = ("_results", "checkpoint", "size")

    def __init__(self, position: Position, location: Location, snapshot: Snapshot) -> None:
        self.checkpoint = Checkpoint(position)  # first: it replaces an iterator that prep has returned
        frame, copier = position.frames[-1], Copier()
        in_shared = {id(version.original) for version in snapshot.values()}
        results = {name: getattr(frame, name) for name in location.boundary.shows if name != "action"}
        self._results = copier.copy(
            {name: None if id(result) in in_shared else result for name, result in results.items()}
        )
        self.size = copier.size  # about how many bytes it takes

    def restore_results(self, position: Position, snapshot: Snapshot, snapshots: Snapshots) -> None:
        """Set what the hooks had returned on a position. A value of ``shared`` becomes the value that is there now."""
        frame = position.frames[-1]
        for name, kept in Copier().copy(self._results).items():
            now = getattr(frame, name)
            key = next((key for key, version in snapshot.items() if version.original is now), None)
            if key is not None and snapshots.values is not None:
                setattr(frame, name, snapshots.values[key])
            elif not hasattr(type(now), "__next__") and not same(now, kept):  # the checkpoint restores iterators
                setattr(frame, name, kept)


@dataclass(slots=True, eq=False)
class HistoryEntry:
    """One place in the history, with everything that is needed to go back to it."""

    number: int  # what `Stepper.goto` takes
    parent: "HistoryEntry | None"  # the entry before it; None for the first
    location: Location
    node: BaseNode  # the node that is visited
    walk_params: Any  # of the walk through the flow: the same object for all visits of one walk
    saved: SavedPosition | None  # None if the entry was evicted
    snapshot: Snapshot
    record: RecordPoint  # how long the record was
    edition: int  # the number of edits before it
    mask: int  # the boundaries at which the command that led here could have stopped
    edited: str  # what the user changed here; "" if this is not an edit
    activity: Activity
    children: list["HistoryEntry"] = field(default_factory=list)  # the entries that follow it, the oldest first
    following: "HistoryEntry | None" = None  # the child that was current last

    @property
    def is_evicted(self) -> bool:
        """Whether the entry was evicted, so that the stepper cannot go back to it."""
        return self.saved is None

    @property
    def starts_visit(self) -> bool:
        """Whether a visit starts here. Entries that repeat the start, with an edit or a failure, do not count."""
        return self.location.boundary.mask == BEFORE_PREP and not self.edited and self.location.error is None

    def can_be_followed(self, mask: int, edition: int) -> bool:
        """Whether a command may move here from the parent without running a hook.

        Args:
            mask: The boundaries at which the command might stop.
            edition: How many edits there are now.
        """
        is_up_to_date = not self.is_evicted and self.edition == edition
        return is_up_to_date and not self.edited and self.location.error is None and not mask & ~self.mask

    def require_saved(self) -> SavedPosition:
        """Return the position that was saved here.

        Raises:
            RunStateError: The entry was evicted.
        """
        if self.saved is None:
            raise RunStateError(
                f"place {self.number} was evicted, because the history exceeds its size. Give a larger "
                "stepper(max_bytes=), or go to a later place."
            )
        return self.saved


class History:
    """All entries of one stepper."""

    def __init__(self, snapshots: Snapshots, budget: float) -> None:
        self._snapshots, self._budget = snapshots, budget
        self.entries: list[HistoryEntry] = []  # by their numbers
        self.now: HistoryEntry = None  # type: ignore[assignment]  # the current entry
        self._evicted = 0  # the number of entries that were evicted, the oldest ones
        self._size = 0
        self._visits: Counter[tuple[str, int]] = Counter()  # by walk: a path, and the id of the params

    def visit_number(self, path: str, walk_params: Any, *, is_new: bool) -> int:
        """Return the number of the current visit of a node on its walk, from 1; of the next one if it is new."""
        walk = path, id(walk_params)
        self._visits[walk] += is_new
        return max(1, self._visits[walk])

    def add(self, entry: HistoryEntry) -> None:
        """Make a new entry the current one, and evict the oldest entries while the history is over the budget."""
        self.entries.append(entry)
        if entry.parent is not None:
            entry.parent.children.append(entry)
            entry.parent.following = entry
        self._snapshots.use(entry.snapshot)
        self.now = entry
        self._size += entry.saved.size if entry.saved is not None else 0
        while self._snapshots.size + self._size > self._budget and self._evicted < len(self.entries) - 1:
            oldest = self.entries[self._evicted]
            self._size -= oldest.saved.size if oldest.saved is not None else 0
            oldest.saved = None
            self._snapshots.release(oldest.snapshot)
            self._evicted += 1

    def go(self, entry: HistoryEntry) -> None:
        """Make an earlier entry the current one."""
        self.now = entry
        line = self.line()
        for parent, child in pairwise(line):
            parent.following = child
        self._visits = Counter()
        for step in line:
            if step.starts_visit:
                self._visits[step.location.path, id(step.walk_params)] = step.location.visit

    def line(self) -> list[HistoryEntry]:
        """Return the entries from the first to the current one."""
        found: list[HistoryEntry] = []
        entry: HistoryEntry | None = self.now
        while entry is not None:
            found.append(entry)
            entry = entry.parent
        return found[::-1]

    def visit_start(self) -> HistoryEntry:
        """Return the entry before the prep of the current visit; the first entry if there is none."""
        entry, here = self.now, self.now.location
        while entry.parent is not None:
            location = entry.location
            if location.boundary.mask == BEFORE_PREP and (location.path, location.visit) == (here.path, here.visit):
                break
            entry = entry.parent
        return entry

    def walk(self) -> Iterator[tuple[HistoryEntry, int]]:
        """Yield all entries in the order of the tree, each with the number of branches between it and the first."""
        todo = [(self.entries[0], 0)] if self.entries else []
        while todo:
            entry, depth = todo.pop()
            yield entry, depth
            for n, child in reversed(list(enumerate(entry.children))):
                todo.append((child, depth + (n > 0)))

    def tree(self) -> str:
        """Return all entries of all branches, a line each; an arrow marks the current one."""
        lines = []
        for entry, depth in self.walk():
            location = entry.location
            which = "" if location.param_set is None else f", param set {location.param_set}"
            which += "" if location.item is None else f", item {location.item}"
            words = [f"{entry.number}: {shown(location.path, 320)}", f"visit {location.visit}{which}", location.phase]
            words += [entry.edited] if entry.edited else []
            words += [f"{location.failed}: {shown(class_name(location.error))}"] if location.error is not None else []
            words += ["mocked"] if entry.activity.counts["mocked"] else []
            words += ["(evicted)"] if entry.is_evicted else []
            lines.append(f"{'->' if entry is self.now else '  '} {'  ' * depth}{message('  '.join(words))}")
        return "\n".join(lines)

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of `Stepper.history`: each visit on the way here."""
        line = self.line()
        return [_row(entry, line[n + 1 :]) for n, entry in enumerate(line) if n == 0 or entry.starts_visit]


def _row(start: HistoryEntry, later: list[HistoryEntry]) -> dict[str, Any]:
    location = start.location
    visit: list[HistoryEntry] = []
    for entry in later:
        visit.append(entry)
        if entry.location.is_end or (entry.location.depth <= location.depth and entry.starts_visit):
            break
    last = visit[-1] if visit else start
    failures = [entry.location.error for entry in visit if entry.location.path == location.path]
    errors = [error for error in failures if error is not None]
    counts = sum((entry.activity.counts for entry in visit), Counter())
    calls = [f"{counts[how]} {how}" if counts[how] > 1 else how for how in ANSWERS if counts[how]]
    calls += ["edited"] * any(entry.edited for entry in visit)
    failed = "failed" if errors else ""
    action, status, seconds = start.record.first_visit(last.record, location.path) or (None, failed, None)
    return {
        "place": start.number,
        "path": location.path,
        "node": last_name(location.path),
        "visit": location.visit,
        "action": plain_text(action),
        "status": status,
        "seconds": seconds,
        "calls": ", ".join(calls),
        "changed": names(changes(start.snapshot, last.snapshot)) or "no change",
        "output": "".join(entry.activity.output for entry in visit),
        "error": f"{class_name(errors[-1])}: {text_of(errors[-1])}" if errors and status == "failed" else None,
    }
