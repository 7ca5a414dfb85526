"""The progress of a run: a line for each batch of its record, as text and as HTML."""

from collections import Counter, deque
from dataclasses import dataclass
from html import escape
from operator import itemgetter
from time import monotonic, perf_counter, strftime

from ..core.statuses import ENDED, FAILURES, count_with
from ..core.text import many, shown
from ..core.traversal import last_name, path_part
from ..engine.batch import PENDING, Batch
from ..runs.run import Run
from .frontend import is_static
from .html import NO_MATHS, chip, style_sheet
from .recent_usage import recent_usage
from .values import duration

__all__ = ["Line", "LineReader", "bundle", "bundle_of", "one_line"]

MAX_LINES = 12
WINDOW = 10.0
"""Seconds over which a rate is taken."""
OUTLOOK = 240
"""The number of characters of what a run with a journal will call."""
JUST_NOW = 0.2
"""Seconds that a batch has probably run when it is first seen."""


OLD_STYLE = (
    ".llmflow-nb-old { opacity: 0.75; animation: llmflow-nb-old 5s step-end; } "
    "@keyframes llmflow-nb-old { from { visibility: hidden; height: 0; } to { visibility: hidden; height: 0; } }"
)
"""Hides an element for its first five seconds. Only the display of a run in progress contains it."""


@dataclass(slots=True)
class Line:
    """One batch node or batch flow, over all its visits so far.

    Attributes:
        path: The node; name: its name; depth: its level of indentation.
        what: "item" or "param set".
        total: The number of items; None if unknown.
        counts: The number of items that are "done", "failed" and "replayed" (these are done too), "cancelled" and
            "running".
        per_second: The number of items that ended in a second, lately; None if unknown.
        is_held: Whether a limiter delays all calls for some time, so the rate so far is no estimate.
    """

    path: str
    name: str
    depth: int
    what: str
    total: int | None
    counts: Counter[str]
    per_second: float | None
    is_held: bool

    @property
    def seconds_left(self) -> float | None:
        """Seconds until all items have ended, at the present rate; None if unknown."""
        if self.total is None or not self.per_second or self.counts["done"] >= self.total or self.is_held:
            return None
        return (self.total - self.counts["done"]) / self.per_second

    def facts(self, *, going: bool, short: bool = False) -> list[str]:
        """Return the texts to show; ``short``: without rate and time."""
        done = self.counts["done"]
        facts = [many(done, self.what) if self.total is None else f"{done:,}/{many(self.total, self.what)}"]
        statuses = ("replayed", "failed", "cancelled", *(["running"] if going else []))
        facts += [f"{self.counts[status]:,} {status}" for status in statuses if self.counts[status]]
        if short or not going or is_static():
            return facts
        if self.per_second:
            facts.append(f"{self.per_second:.3g} {self.what}s/s")
        if self.seconds_left is not None:
            facts.append(f"{duration(self.seconds_left)} left")
        return facts


class LineReader:
    """Read the progress of a run repeatedly from its record."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._seen = 0  # how many batches of the record
        self._nodes: dict[str, _NodeProgress] = {}
        self._has_read = False
        self._started = monotonic() - (run.seconds_so_far if run.seconds is None else 0.0)

    def lines(self) -> list[Line]:
        """Return a line for each batch, as of now: each batch before those inside it."""
        new, self._seen = self.run._recorder.batches_since(self._seen)
        for batch in new:
            self._nodes.setdefault(batch.path, _NodeProgress()).batches.append(batch)
        is_held = any(until is not None for _, until in list(self.run._recorder.limited.values()))
        lines = [self._line(path, node, is_held) for path, node in sorted(self._nodes.items(), key=itemgetter(0))]
        self._has_read = True
        return lines

    def _line(self, path: str, node: "_NodeProgress", is_held: bool) -> Line:
        outer = [other for other in self._nodes if path.startswith(f"{other}/")]
        name = path.removeprefix(f"{max(outer, key=len) if outer else path_part(self.run.name)}/")
        counts = node.count()
        if not node.past:
            done_before = counts["done"] if self.run.seconds is not None else 0  # rows of a run that ended are retried
            node.start = (monotonic() - JUST_NOW if self._has_read else self._started), done_before
            node.past.append(node.start)
        return Line(
            path,
            shown(name if "/" in name else last_name(name)),
            len(outer),
            node.what,
            counts["total"] if node.is_total_known else None,
            counts,
            node.rate(counts["done"]),
            is_held,
        )


class _NodeProgress:
    """The batches of one node, counted repeatedly. A batch that has ended is counted once."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []  # not ended
        self.what = "item"
        self.is_total_known = True
        self.start = (0.0, 0)  # when the node started, and how many items were done then
        self.past: deque[tuple[float, int]] = deque()  # times, and how many items were done then
        self._ended: Counter[str] = Counter()  # the counts of the batches that have ended

    def count(self) -> Counter[str]:
        """Return the number of items: in "total", "done", "failed", "cancelled" and "running"."""
        counts = self._ended.copy()
        batches, self.batches, self.is_total_known = self.batches, [], True
        for batch in batches:
            self.what = "param set" if batch.plan.facts.kind == "batch_flow" else "item"
            by_status = batch.counts()
            done, failed = count_with(by_status, ENDED) - _ended_before(batch), count_with(by_status, FAILURES)
            found = {"total": batch.rows, "done": done, "failed": failed, "cancelled": by_status.get("cancelled", 0)}
            found["replayed"] = len(batch.outcomes.replayed)
            counts.update(found)
            counts["running"] += batch.outcomes.in_flight
            self.is_total_known &= batch.items.exhausted or batch.items.total is not None
            has_all = batch.items.exhausted and not batch.outcomes.in_flight and done == batch.rows
            if (has_all or batch.stopped) and batch.retry_queue is None:  # else rows of it may be retried just now
                self._ended.update(found)
            else:
                self.batches.append(batch)
        return counts

    def rate(self, done: int) -> float | None:
        """Return the number of items that end in a second, lately or else over the whole time; None if unknown."""
        now = monotonic()
        self.past.append((now, done))
        while self.past[0][0] < now - WINDOW and len(self.past) > 2:
            self.past.popleft()
        for then, before in (self.past[0], self.start):
            if done > before and now > then:
                return (done - before) / (now - then)
        return None


def _ended_before(batch: Batch) -> int:
    """Return how many queued items had ended before the retry. They no longer count as done."""
    exceptional, results = batch.outcomes.exceptional, batch.outcomes.results
    waiting = [] if batch.retry_queue is None else list(batch.retry_queue.waiting)
    queued = [row for row in waiting if results[row] is not PENDING]
    return sum(row not in exceptional or exceptional[row].status in ENDED for row in queued)


def _head(run: Run, going: bool) -> list[str]:
    """Return the texts about the run itself."""
    facts = []
    if going and run._recorder.where():
        facts.append(f"at {shown(run._recorder.where())}")
    if going and not is_static():
        facts += _waiting(run)
    if going and run.seconds is not None:  # rows are retried: the figures below are of the run before
        return facts
    if run.visit_count:
        facts.append(many(run.visit_count, "visit"))
    if not is_static():
        facts.append(duration(run.seconds_so_far))
    used = recent_usage(run)
    if used is not None:
        facts.append(used.short)
    if run._outlook():
        facts.append(shown(run._outlook(), OUTLOOK))
    return facts


def _waiting(run: Run) -> list[str]:
    """Say how long calls have waited for their limiter, and when the next may start, if any wait."""
    waits, now = list(run._recorder.limited.values()), perf_counter()
    if not waits:
        return []
    ends = [until for _, until in waits if until is not None]
    following = f", next call in {duration(max(0.0, min(ends) - now))}" if ends else ""
    return [f"waiting for the limiter: {duration(now - min(since for since, _ in waits))}{following}"]


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
    head = f"<strong>{escape(shown(run.name))}</strong> {chip(_status(run, going))}"
    rows = [f"<div>{head} {escape(' · '.join(_head(run, going)))}</div>"]
    for line in lines[:MAX_LINES]:
        facts = escape(" · ".join(line.facts(going=going)))
        name = escape(line.name)
        rows.append(f'<div style="padding-left: {1 + line.depth}em">{_bar(line)} {name} {facts}</div>')
    if len(lines) > MAX_LINES:
        rows.append(f"<div>and {len(lines) - MAX_LINES} more</div>")
    if going and not is_static():
        rows.append(f'<style>{OLD_STYLE}</style><div class="llmflow-nb-old">{_outdated()}</div>')
    return f'<style>{style_sheet()}</style>\n<div class="llmflow-nb {NO_MATHS}">\n' + "\n".join(rows) + "\n</div>"


def _outdated() -> str:
    """Return the text that the style sheet shows some seconds after the last update.

    After a page reload, updates no longer arrive, so CSS shows this text. Each update hides it again.
    """
    return f"This is a picture of {strftime('%H:%M:%S')}, not updated any more. Show the run again to see its progress."


def _bar(line: Line) -> str:
    if not line.total:
        return ""
    failed = line.counts["failed"]
    good, bad = (100 * n / line.total for n in (line.counts["done"] - failed, failed))
    return (
        f'<span class="llmflow-nb-bar"><span style="width: {good:.1f}%"></span>'
        f'<span style="width: {bad:.1f}%"></span></span>'
    )
