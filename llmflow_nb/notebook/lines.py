"""How far a run is: a line for each batch, read off its record, as text and as HTML."""

from collections import deque
from dataclasses import dataclass
from html import escape
from time import monotonic, perf_counter, strftime

from ..core.statuses import ENDED, FAILURES, count_with
from ..core.text import shown
from ..core.traversal import last_name, path_part
from ..engine.batch import PENDING, Batch
from ..runs.run import Run
from .frontend import is_static
from .html import NO_MATHS, state, style_sheet
from .summary import duration

__all__ = ["Line", "LineReader", "bundle", "bundle_of", "one_line"]

MOST_LINES = 12
WINDOW = 10.0
"""Seconds over which a rate is taken."""
JUST_NOW = 0.2
"""Seconds before a batch was first seen that it is taken to have begun."""


OLD_STYLE = (
    ".llmflow-nb-old { opacity: 0.75; animation: llmflow-nb-old 5s step-end; } "
    "@keyframes llmflow-nb-old { from { visibility: hidden; height: 0; } to { visibility: hidden; height: 0; } }"
)
"""Hides an element for its first five seconds. Only a run in progress carries it."""


@dataclass(slots=True)
class Line:
    """One batch node or batch flow, over all its visits so far.

    Attributes:
        path: The node; name: what to call it; depth: how far it is indented.
        what: "item" or "param set".
        total: How many there are; None where that is not known.
        done: How many have come to an end of their own; failed: how many of them failed.
        cancelled: How many were stopped; running: how many are under way.
        per_second: How many ended in a second, lately; None where that cannot be told.
        is_held: Whether a limiter lets no call begin for some time, so that the rate so far says nothing.
    """

    path: str
    name: str
    depth: int
    what: str
    total: int | None
    done: int
    failed: int
    cancelled: int
    running: int
    per_second: float | None
    is_held: bool

    @property
    def seconds_left(self) -> float | None:
        """How long the rest will take at that rate; None where that cannot be told."""
        if self.total is None or not self.per_second or self.done >= self.total or self.is_held:
            return None
        return (self.total - self.done) / self.per_second

    def facts(self, *, going: bool, short: bool = False) -> list[str]:
        """Return it in words; ``short``: without rate and time."""
        of = f"{self.done:,}" if self.total is None else f"{self.done:,}/{self.total:,}"
        facts = [f"{of} {self.what}{'s' * ((self.total or self.done) != 1)}"]
        if self.failed:
            facts.append(f"{self.failed:,} failed")
        if self.cancelled:
            facts.append(f"{self.cancelled:,} cancelled")
        if going and self.running:
            facts.append(f"{self.running:,} running")
        if short or not going or is_static():
            return facts
        if self.per_second:
            facts.append(f"{self.per_second:.3g} {self.what}s/s")
        if self.seconds_left is not None:
            facts.append(f"{duration(self.seconds_left)} left")
        return facts


class LineReader:
    """Reads a record again and again. A batch that has ended is counted once."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._next = 0
        self._ended: dict[str, list[int]] = {}
        self._going: list[Batch] = []
        self._first: dict[str, tuple[float, int]] = {}
        self._past: dict[str, deque[tuple[float, int]]] = {}
        self._kinds: dict[str, str] = {}
        self._read = False
        self._began = monotonic() - (run.seconds_so_far if run.seconds is None else 0.0)

    def lines(self) -> list[Line]:
        """Return a line for each batch, as of now: the outer ones before those within."""
        dropped = self.run.dropped_batches
        new = self.run._recorder.batches[max(0, self._next - dropped) :]
        self._next = max(self._next, dropped) + len(new)
        going, self._going = [*self._going, *new], []
        for batch in new:
            self._ended.setdefault(batch.path, [0, 0, 0, 0])
            self._kinds[batch.path] = batch.plan.kind
        sums = {path: [*counts, 0, 1] for path, counts in self._ended.items()}  # as in `_line`
        for batch in going:
            counts = batch.counts()
            failed, cancelled = count_with(counts, FAILURES), counts.get("cancelled", 0)
            done = count_with(counts, ENDED) - _ended_before(batch)
            found = batch.rows, done, failed, cancelled
            row = sums[batch.path]
            row[:4] = [n + more for n, more in zip(row, found, strict=False)]
            row[4] += batch.outcomes.in_flight
            row[5] &= batch.items.exhausted or batch.items.total is not None
            has_all = batch.items.exhausted and not batch.outcomes.in_flight and done == batch.rows
            if has_all or batch.stopped:
                ended = self._ended[batch.path]
                self._ended[batch.path] = [n + more for n, more in zip(ended, found, strict=True)]
            else:
                self._going.append(batch)
        lines = [self._line(path, *row) for path, row in sorted(sums.items())]
        self._read = True
        return lines

    def _line(self, path: str, total: int, done: int, failed: int, cancelled: int, running: int, known: int) -> Line:
        outer = [other for other in self._ended if path.startswith(f"{other}/")]
        name = path.removeprefix(f"{max(outer, key=len) if outer else path_part(self.run.name)}/")
        name = name if "/" in name else last_name(name)
        return Line(
            path,
            shown(name),
            len(outer),
            "param set" if self._kinds[path] == "batch_flow" else "item",
            total if known else None,
            done,
            failed,
            cancelled,
            running,
            self._rate(path, done),
            any(until is not None for _, until in list(self.run._recorder.limited.values())),
        )

    def _rate(self, path: str, done: int) -> float | None:
        now = monotonic()
        if path not in self._past:
            begun_before = done if self.run.seconds is not None else 0  # of a run that has ended rows are called again
            self._first[path] = (now - JUST_NOW if self._read else self._began), begun_before
            self._past[path] = deque([self._first[path]])
        past = self._past[path]
        past.append((now, done))
        while past[0][0] < now - WINDOW and len(past) > 2:
            past.popleft()
        then, before = past[0]
        if done == before:  # nothing ended lately: over all the time then
            then, before = self._first[path]
        return (done - before) / (now - then) if done > before and now > then else None


def _ended_before(batch: Batch) -> int:
    """How many of the items that are to be called again had come to an end, and would be counted as done."""
    odd, results = batch.outcomes.exceptional, batch.outcomes.results
    again = [at for at in list(batch.retry_queue) if results[at] is not PENDING]
    return sum(at not in odd or odd[at].status in ENDED for at in again)


def _head(run: Run, going: bool) -> list[str]:
    """What there is to say of the run itself."""
    facts = []
    if going and run._where():
        facts.append(f"at {shown(run._where())}")
    if going and run._recorder.limited and not is_static():
        facts.append(_waiting(run))
    if going and run.seconds is not None:  # rows are called again: what follows is of the run before
        return facts
    if run.visit_count:
        facts.append(f"{run.visit_count:,} visit{'s' * (run.visit_count != 1)}")
    if not is_static():
        facts.append(duration(run.seconds_so_far))
    return [fact for fact in facts if fact]


def _waiting(run: Run) -> str:
    """How long calls have waited for their limiter, and when the next will be let; "" where none waits any more."""
    waits, now = list(run._recorder.limited.values()), perf_counter()
    if not waits:
        return ""
    until = [until for _, until in waits if until is not None]
    following = f", next call in {duration(max(0.0, min(until) - now))}" if until else ""
    return f"waiting for the limiter: {duration(now - min(since for since, _ in waits))}{following}"


def one_line(run: Run, lines: list[Line], *, going: bool, short: bool = False) -> str:
    """Return how far a run is, as one line of text."""
    parts = [f"{line.name} {', '.join(line.facts(going=going, short=short))}" for line in lines[:3]]
    head = [] if short and parts else [", ".join(_head(run, going))]
    return " | ".join([f"{shown(run.name)} {_status(run, going)}", *parts, *head])


def bundle(run: Run, lines: list[Line], *, going: bool) -> dict[str, str]:
    """Return how far a run is, as HTML and as text."""
    return {"text/html": _html(run, lines, going), "text/plain": one_line(run, lines, going=going)}


def bundle_of(run: Run) -> dict[str, str]:
    """Return how far a run is now."""
    return bundle(run, LineReader(run).lines(), going=run.status == "running")


def _status(run: Run, going: bool) -> str:
    """One word. Rows of a run that has ended may be called again, and then it is going once more."""
    return run.status if not going else "running" if run.seconds is None else "calling rows again"


def _html(run: Run, lines: list[Line], going: bool) -> str:
    word = state(_status(run, going), is_bad=not going and run.status != "ok")
    head = f"<strong>{escape(shown(run.name))}</strong> {word}"
    rows = [f"<div>{head} {escape(' · '.join(_head(run, going)))}</div>"]
    for line in lines[:MOST_LINES]:
        facts = escape(" · ".join(line.facts(going=going)))
        name = escape(line.name)
        rows.append(f'<div style="padding-left: {1 + line.depth}em">{_bar(line)} {name} {facts}</div>')
    if len(lines) > MOST_LINES:
        rows.append(f"<div>and {len(lines) - MOST_LINES} more</div>")
    if going and not is_static():
        rows.append(f'<style>{OLD_STYLE}</style><div class="llmflow-nb-old">{_is_old()}</div>')
    return f'<style>{style_sheet()}</style>\n<div class="llmflow-nb {NO_MATHS}">\n' + "\n".join(rows) + "\n</div>"


def _is_old() -> str:
    """Return what is shown of a run in progress once its display is not updated any more.

    A display is lost when the page is reloaded, and nothing tells the kernel. The style sheet shows this text some
    seconds after the last update; every update replaces it by a hidden one.
    """
    return (
        f"This is a picture of {strftime('%H:%M:%S')}, not updated any more. Show the run again to see how far it is."
    )


def _bar(line: Line) -> str:
    if not line.total:
        return ""
    good, bad = (100 * n / line.total for n in (line.done - line.failed, line.failed))
    return (
        f'<span class="llmflow-nb-bar"><span style="width: {good:.1f}%"></span>'
        f'<span style="width: {bad:.1f}%"></span></span>'
    )
