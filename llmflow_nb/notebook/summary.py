"""What there is to see of a record at a glance: of a run, and of a batch. Plain texts; `html` writes them."""

from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Any

from ..graph.text import shown
from ..runs.batch import BatchResult
from ..runs.run import Run
from .html import Summary, Table, is_static
from .values import ValueTexts

__all__ = ["duration", "of_batch", "of_run"]

ROWS = 10
KINDS = 5
NOTES = 8
NAME = 80
INDENT = "\u2003"
"""A space that HTML does not take away."""


def of_run(run: Run) -> Summary:
    """How a run went: counts, what each node took, what failed, what was probably not meant."""
    visits = run.visits
    facts = [_many(run.visit_count, "visit"), _many(run.calls, "call")]
    if run.seconds is not None and not is_static():
        facts.append(duration(run.seconds))
    if run.status == "running" and run.where():
        facts.append(f"at {_from_the_right(run.where())}")
    if run.status == "ok" and run.action is not None:
        facts.append(f"last action {ValueTexts().of(run.action, NAME)}")
    failed = sum(result.counts.get("failed", 0) for result in run.batches if not result.is_of_params)
    if failed:
        facts.append(_many(failed, "failed item"))
    if run.abandoned:
        facts.append(f"{_many(run.abandoned, 'blocking call')} left to end")
    dropped = run.visit_count - len(visits)
    notes = [_error_line(run.error)] if run.error is not None and run.status != "stopped" else []
    if dropped > 0:
        notes.append(f"only the latest {_many(len(visits), 'visit')} are kept; {dropped} before them were counted")
    notes += run.problems
    notes += [f"{path}: {note}" for path, note in run.notes]
    tables = [_nodes_table(run)]
    errors = Counter((_from_the_right(path), *_kind_of_error(error)) for path, _, error in run.failures)
    if errors:
        tables.append(_errors_table(("node",), errors))
    return Summary(shown(run.name, NAME), run.status, facts, _first_notes(notes), tables)


def _nodes_table(run: Run) -> Table:
    by_path: dict[str, list[Any]] = {}
    first: dict[str, int] = {}  # when a node, or one within it, first ended: flows go before their steps
    for visit in run.visits:
        path = ""
        for name in visit.path.split("/"):
            path += f"{name}/"
            first.setdefault(path, visit.step)
        row = by_path.setdefault(visit.path, [0, 0, 0, 0.0, 0.0])
        row[0] += 1
        row[1] += visit.attempts
        row[2] += visit.status == "failed"
        row[3] += visit.seconds
        row[4] = max(row[4], visit.seconds)
    batches = {result.path: result for result in run.batches}
    in_order = sorted(by_path.items(), key=lambda row: [first[f"{outer}/"] for outer in _outwards(row[0])])
    rows: list[tuple[str, ...]] = [
        (
            INDENT * path.count("/") + shown(path.rpartition("/")[2], NAME),
            str(visits),
            str(attempts) if attempts else "",
            _counts(batches[path].counts) if path in batches else "",
            str(failed) if failed else "",
            duration(seconds),
            duration(slowest),
        )
        for path, (visits, attempts, failed, seconds, slowest) in islice(in_order, ROWS * 2)
    ]
    heads: tuple[str, ...] = ("node", "visits", "attempts", "items", "failed visits", "seconds", "slowest")
    heads, rows = _without(heads, rows, {"seconds", "slowest"} if is_static() else set(), {"items", "failed visits"})
    more = f"{len(by_path) - len(rows)} more nodes: .steps has them all" if len(by_path) > len(rows) else ""
    return Table("", heads, rows, frozenset(heads) - {"node", "items"}, more)


def _from_the_right(path: str) -> str:
    """A path, cut so that its end is there."""
    text = shown(path, 4 * NAME)
    return text if len(text) <= NAME else f"…{text[1 - NAME :]}"


def _outwards(path: str) -> Iterable[str]:
    """The paths of the flows around a node, the outermost first, and its own."""
    names = path.split("/")
    return ("/".join(names[: n + 1]) for n in range(len(names)))


def of_batch(result: BatchResult) -> Summary:
    """How a batch went: counts, what took longest, errors by kind, and the first rows, failures before the others."""
    counts = result.counts
    total = sum(counts.values())
    what = "param set" if result.is_of_params else "item"
    facts = [_many(total, what), _counts(counts)] if counts else ["no items"]
    took = [(seconds, i) for i, seconds in enumerate(_seconds(result)) if seconds]
    if took and not is_static():
        slowest, row = max(took)
        facts.append(f"{duration(sum(seconds for seconds, _ in took))} in all, {duration(slowest)} at most (row {row})")
    notes = [note for path, note in result.run.notes if path == result.path]
    state = "running" if result.run.status == "running" else _state(counts)
    tables = []
    errors = Counter(
        _kind_of_error(outcome.error)
        for _, batch in result._batches
        for outcome in list(batch.odd.values())
        if outcome.status == "failed" and outcome.error is not None
    )
    if errors:
        tables.append(_errors_table((), errors))
    if total:
        tables.append(_rows_table(result, total))
    return Summary(_from_the_right(result.path), state, facts, _first_notes(notes), tables)


def _rows_table(result: BatchResult, total: int) -> Table:
    texts = ValueTexts()
    failed = list(islice(_rows_that_failed(result), ROWS))
    again = list(islice((row for row in result.called_again if row not in failed), ROWS - len(failed)))
    first = [*failed, *again]
    others = (row for row in range(total) if row not in first)
    labelled = all(batch.index is not None for _, batch in result._batches)
    rows: list[tuple[str, ...]] = []
    for row in [*first, *islice(others, ROWS - len(first))]:
        item = result[row]
        params = ", ".join(
            f"{texts.of(key, 30)}={texts.of(value, 40)}" for key, value in islice(item.params.items(), 3)
        )
        rows.append(
            (
                texts.of(item.label if labelled else row, 20),
                params,
                texts.of(item.item),
                "" if item.result is None and item.status not in ("ok", "fallback") else texts.of(item.result),
                item.status,
                str(item.attempts),
                duration(item.seconds) if item.seconds else "",
                _error_line(item.error) if item.error is not None else "",
            )
        )
    heads: tuple[str, ...] = ("row", "params", "item", "result", "status", "attempts", "seconds", "error")
    more = f"{total - len(rows)} more rows: .df has them all" if total > len(rows) else ""
    which = " and ".join(["failed"] * bool(failed) + ["called again"] * bool(again))
    title = f"Rows, those {which} first" if which and len(first) < total else "Rows"
    heads, rows = _without(heads, rows, {"seconds"} if is_static() else set(), {"params", "error"})
    return Table(title, heads, rows, frozenset(("attempts", "seconds")), more)


def _without(
    heads: tuple[str, ...], rows: list[tuple[str, ...]], never: set[str], not_empty: set[str]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Leave columns out: some in any case, some where they are empty."""
    left_out = never | {head for n, head in enumerate(heads) if head in not_empty and not any(row[n] for row in rows)}
    keep = [n for n, head in enumerate(heads) if head not in left_out]
    return tuple(heads[n] for n in keep), [tuple(row[n] for n in keep) for row in rows]


def _rows_that_failed(result: BatchResult) -> Iterable[int]:
    start = 0
    for _, batch in result._batches:
        for position in sorted(batch.odd.copy()):
            if batch.odd[position].status == "failed":
                yield start + position
        start += batch.rows


def _seconds(result: BatchResult) -> Iterable[float]:
    for _, batch in result._batches:
        seconds = batch.seconds[: batch.rows]
        yield from seconds
        yield from [0.0] * (batch.rows - len(seconds))


def _errors_table(heads: tuple[str, ...], errors: Counter[Any]) -> Table:
    """Errors of the same kind in one row, the most frequent first, with what one of them said."""
    grouped: dict[Any, list[Any]] = {}
    for (*where, kind, text), n in errors.items():
        row = grouped.setdefault((*where, kind), [0, text])
        row[0] += n
    most = sorted(grouped.items(), key=lambda group: -group[1][0])
    rows = [(*where, f"{n} x {kind}", text) for (*where, kind), (n, text) in most[:KINDS]]
    more = f"{len(most) - KINDS} more kinds: .errors has them all" if len(most) > KINDS else ""
    return Table("Errors", (*heads, "how many", "one of them"), rows, frozenset(), more)


def _kind_of_error(error: BaseException) -> tuple[str, str]:
    return shown(type(error).__name__, NAME), _error_text(error)


def _error_line(error: BaseException) -> str:
    text = _error_text(error)
    return f"{shown(type(error).__name__, NAME)}{': ' if text else ''}{text}"


def _error_text(error: BaseException) -> str:
    try:
        text = str(error)[:2000].strip()
    except Exception:  # the user's class cannot say what it is
        return "(its text cannot be had)"
    return shown(text.partition("\n")[0], 200) if text else ""


def _first_notes(notes: list[str]) -> list[str]:
    first = [shown(note, 400) for note in notes[:NOTES]]
    return first + ([f"and {len(notes) - NOTES} more in .problems"] if len(notes) > NOTES else [])


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {status}" for status, n in counts.items())


def _state(counts: dict[str, int]) -> str:
    if counts.get("cancelled") or counts.get("pending"):
        return "incomplete"
    if not counts.get("failed"):
        return "ok"
    return "some failed" if counts.get("ok") or counts.get("fallback") else "all failed"


def _many(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' * (n != 1)}"


def duration(seconds: float) -> str:
    """Return seconds as one reads them: "12 ms", "3.4 s", "2 min 05 s"."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
