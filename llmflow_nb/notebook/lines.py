"""The progress of a run: a line for each batch of its record, as text and as HTML."""

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
"""A batch is assumed to have started so many seconds before it was first seen."""


OLD_STYLE = (
    ".llmflow-nb-old { opacity: 0.75; animation: llmflow-nb-old 5s step-end; } "
    "@keyframes llmflow-nb-old { from { visibility: hidden; height: 0; } to { visibility: hidden; height: 0; } }"
)
"""Hides an element for its first five seconds. Only a run in progress carries it."""


@dataclass(slots=True)
class Line:
    """One batch node or batch flow, over all its visits so far.

    Attributes:
        path: The node; name: its name; depth: its level of indentation.
        what: "item" or "param set".
        total: The number of items; None if unknown.
        done: The number of items that have ended; failed: the number of those that failed.
        cancelled: The number of cancelled items; running: the number of items in progress.
        per_second: Items that ended in a second, lately; None if unknown.
        is_held: Whether a limiter delays all calls for some time, so the rate so far is no estimate.
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
        """Seconds until all items have ended, at that rate; None if unknown."""
        if self.total is None or not self.per_second or self.done >= self.total or self.is_held:
            return None
        return (self.total - self.done) / self.per_second

    def facts(self, *, going: bool, short: bool = False) -> list[str]:
        """Return the texts to show; ``short``: without rate and time."""
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
    """Read a record repeatedly. A batch that has ended is counted once."""

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
        """Return a line for each batch, as of now: each batch before those inside it."""
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
            if (has_all or batch.stopped) and not batch.previous:  # else rows of it may be retried just now
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
            begun_before = done if self.run.seconds is not None else 0  # rows of a run that has ended are retried
            self._first[path] = (now - JUST_NOW if self._read else self._began), begun_before
            self._past[path] = deque([self._first[path]])
        past = self._past[path]
        past.append((now, done))
        while past[0][0] < now - WINDOW and len(past) > 2:
            past.popleft()
        then, before = past[0]
        if done == before:  # nothing ended lately: take the rate over the whole time
            then, before = self._first[path]
        return (done - before) / (now - then) if done > before and now > then else None


def _ended_before(batch: Batch) -> int:
    """Return the number of items to be retried that have ended before, which are not done now."""
    odd, results = batch.outcomes.exceptional, batch.outcomes.results
    again = [at for at in list(batch.retry_queue) if results[at] is not PENDING]
    return sum(at not in odd or odd[at].status in ENDED for at in again)


def _head(run: Run, going: bool) -> list[str]:
    """Return the texts about the run itself."""
    facts = []
    if going and run._where():
        facts.append(f"at {shown(run._where())}")
    if going and run._recorder.limited and not is_static():
        facts.append(_waiting(run))
    if going and run.seconds is not None:  # rows are retried: the figures below are of the run before
        return facts
    if run.visit_count:
        facts.append(f"{run.visit_count:,} visit{'s' * (run.visit_count != 1)}")
    if not is_static():
        facts.append(duration(run.seconds_so_far))
    return [fact for fact in facts if fact]


def _waiting(run: Run) -> str:
    """Say how long calls have waited for their limiter, and when the next may start; "" if none waits."""
    waits, now = list(run._recorder.limited.values()), perf_counter()
    if not waits:
        return ""
    until = [until for _, until in waits if until is not None]
    following = f", next call in {duration(max(0.0, min(until) - now))}" if until else ""
    return f"waiting for the limiter: {duration(now - min(since for since, _ in waits))}{following}"


def one_line(run: Run, lines: list[Line], *, going: bool, short: bool = False) -> str:
    """Return the progress of a run as one line of text."""
    parts = [f"{line.name} {', '.join(line.facts(going=going, short=short))}" for line in lines[:3]]
    head = [] if short and parts else [", ".join(_head(run, going))]
    return " | ".join([f"{shown(run.name)} {_status(run, going)}", *parts, *head])


def bundle(run: Run, lines: list[Line], *, going: bool) -> dict[str, str]:
    """Return the progress of a run as HTML and as text."""
    return {"text/html": _html(run, lines, going), "text/plain": one_line(run, lines, going=going)}


def bundle_of(run: Run) -> dict[str, str]:
    """Return the progress of a run now, as HTML and as text."""
    return bundle(run, LineReader(run).lines(), going=run.status == "running")


def _status(run: Run, going: bool) -> str:
    """Return the status to show. A run that has ended is in progress again while its rows are retried."""
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
