"""Summaries of a run and of a batch: counts, errors, first rows. Plain texts, which `html` writes."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from ..core.statuses import ENDED, FAILURES, HAS_RESULT, count_with
from ..core.text import MASK, class_name, is_secret, quoted, shown
from ..runs.batch import BatchResult
from ..runs.rows import Visit, unresolved
from ..runs.run import Run
from .frontend import is_static
from .html import Summary, Table
from .values import ValueTexts

__all__ = ["duration", "of_batch", "of_run"]

ROWS = 10
KINDS = 5
MOST_NODES = 500
NOTES = 8
NAME = 80
INDENT = "\u2003"
"""A space that HTML does not take away."""


def of_run(run: Run) -> Summary:
    """Summarize a run: counts, the time of each node, failures, problems."""
    texts = ValueTexts()
    visits = run.visits
    results = run.batches
    facts = [_many(run.visit_count, "visit"), _many(run.calls, "call")]
    if run.seconds is not None and not is_static():
        facts.append(duration(run.seconds))
    if run.status == "running" and run._where():
        facts.append(f"at {_from_the_right(run._where())}")
    if run.status == "ok" and run.action is not None:
        facts.append(f"last action {texts.of(run.action, NAME)}")
    failed = sum(count_with(result.counts, FAILURES) for result in results if not result.is_of_params)
    if failed:
        facts.append(_many(failed, "failed item"))
    if run.abandoned:
        facts.append(f"{_many(run.abandoned, 'blocking call')} left to end")
    notes = [_error_line(run.error, texts)] if run.error is not None and run.status != "stopped" else []
    if run.visit_count > len(visits):
        dropped = run.visit_count - len(visits)
        notes.append(f"only the latest {_many(len(visits), 'visit')} are kept; {dropped} before them were counted")
    notes += run.problems
    notes += [f"{path}: {note}" for path, note in run.notes]
    tables = [_nodes_table(visits, results)]
    groups = _Groups()
    for result in results:
        if not result.is_of_params:  # a param set fails because of an item or visit inside it
            groups.add_rows(result, result.path)
    for visit, error in unresolved(run._recorder, visits):  # failures inside a row are counted there
        if not groups.has(error):
            groups.add(visit.path, error)
    if groups:
        tables.append(groups.table(texts, with_paths=True))
    return Summary(shown(run.name, NAME), run.status, facts, _first_notes(notes), tables)


def _nodes_table(visits: list[Visit], results: list[BatchResult]) -> Table:
    """Return a row for each node: flows before their steps, steps in the order of their first visit."""
    by_path: dict[str, list[Any]] = {}
    for visit in visits:
        row = by_path.setdefault(visit.path, [visit.node, 0, 0, 0, 0.0, 0.0])
        row[1] += 1
        row[2] += visit.attempts
        row[3] += visit.status in FAILURES
        row[4] += visit.seconds
        row[5] = max(row[5], visit.seconds)
    batches = {result.path: result for result in results}
    rows: list[tuple[str, ...]] = []
    for path, depth in islice(_flows_first(list(by_path)), ROWS * 2):
        name, n, attempts, failed, seconds, slowest = by_path[path]
        rows.append(
            (
                INDENT * depth + shown(name, NAME),
                str(n),
                str(attempts) if attempts else "",
                _counts(batches[path].counts) if path in batches else "",
                str(failed) if failed else "",
                duration(seconds),
                duration(slowest),
            )
        )
    more = f"{len(by_path) - len(rows)} more nodes: .steps has them all" if len(by_path) > len(rows) else ""
    heads: tuple[str, ...] = ("node", "visits", "attempts", "items", "failed visits", "seconds", "slowest")
    heads, rows = _without(heads, rows, {"seconds", "slowest"} if is_static() else set(), {"items", "failed visits"})
    return Table("", heads, rows, frozenset(heads) - {"node", "items"}, more)


def _flows_first(paths: list[str]) -> Iterator[tuple[str, int]]:
    """Yield each path with its depth, before the paths inside it. Others keep their order.

    A path is inside another if that one is a prefix of it, up to a "/". Names may have a "/" of their own.
    """
    paths = paths[:MOST_NODES]
    within: dict[str, list[str]] = {"": []}
    first = {path: n for n, path in enumerate(paths)}
    for path in sorted(paths, key=len):
        outer = max((other for other in within if path.startswith(f"{other}/")), key=len, default="")
        within[outer].append(path)
        within[path] = []
    for path in sorted(paths, key=len, reverse=True):  # a flow comes where the first of its steps did
        first[path] = min([first[path], *(first[inner] for inner in within[path])])
    todo = [("", -1)]
    while todo:
        path, depth = todo.pop()
        if path:
            yield path, depth
        todo += [(inner, depth + 1) for inner in sorted(within[path], key=lambda inner: -first[inner])]


def _from_the_right(path: str) -> str:
    """Return a path, cut at its start if it is long."""
    text = shown(path, 4 * NAME) if path else ""
    return text if len(text) <= NAME else f"…{text[1 - NAME :]}"


def of_batch(result: BatchResult) -> Summary:
    """Summarize a batch: counts, the slowest row, errors by class, and the first rows, failures first."""
    counts = result.counts
    total = sum(counts.values())
    what = "param set" if result.is_of_params else "item"
    facts = [_many(total, what), _counts(counts)] if counts else ["no items"]
    in_all, slowest, row = _seconds(result)
    if in_all and not is_static():
        which = quoted(result[row].label) if _is_labelled(result) else row
        facts.append(f"{duration(in_all)} in all, {duration(slowest)} at most (row {which})")
    notes = [note for path, note in result.run.notes if path == result.path]
    state = "running" if result.run.status == "running" else _state(counts)
    tables = []
    texts = ValueTexts()
    groups = _Groups()
    groups.add_rows(result, "")
    if groups:
        tables.append(groups.table(texts, with_paths=False))
    if total:
        tables.append(_rows_table(result, total, texts))
    return Summary(_from_the_right(result.path), state, facts, _first_notes(notes), tables)


def _rows_table(result: BatchResult, total: int, texts: ValueTexts) -> Table:
    failed = [row for row, _ in islice(result._failed_rows(), ROWS)]
    again = list(islice((row for row in result.called_again if row not in failed), ROWS - len(failed)))
    first = [*failed, *again]
    others = (row for row in range(total) if row not in first)
    labelled = _is_labelled(result)
    rows: list[tuple[str, ...]] = []
    for row in [*first, *islice(others, ROWS - len(first))]:
        item = result[row]
        params = ", ".join(
            f"{texts.of(key, 20)}={MASK if is_secret(key) else texts.of(value, 30)}"
            for key, value in islice(item.params.items(), 2)
        )
        rows.append(
            (
                texts.of(item.label if labelled else row, 20),
                params,
                texts.of(item.item),
                "" if item.result is None and item.status not in HAS_RESULT else texts.of(item.result),
                item.status,
                str(item.attempts),
                duration(item.seconds) if item.seconds else "",
                _error_line(item.error, texts) if item.error is not None else "",
            )
        )
    heads: tuple[str, ...] = ("row", "params", "item", "result", "status", "attempts", "seconds", "error")
    more = f"{total - len(rows)} more rows: .df has them all" if total > len(rows) else ""
    which = " and ".join(["failed"] * bool(failed) + ["called again"] * bool(again))
    title = f"Rows, those {which} first" if which and len(first) < total else "Rows"
    heads, rows = _without(heads, rows, {"seconds"} if is_static() else set(), {"params", "error"})
    return Table(title, heads, rows, frozenset(("attempts", "seconds")), more)


def _is_labelled(result: BatchResult) -> bool:
    return all(batch.items.index is not None for _, batch in result._batches)


def _without(
    heads: tuple[str, ...], rows: list[tuple[str, ...]], never: set[str], not_empty: set[str]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Leave out some columns always, and some if they are empty."""
    left_out = never | {head for n, head in enumerate(heads) if head in not_empty and not any(row[n] for row in rows)}
    keep = [n for n, head in enumerate(heads) if head not in left_out]
    return tuple(heads[n] for n in keep), [tuple(row[n] for n in keep) for row in rows]


def _seconds(result: BatchResult) -> tuple[float, float, int]:
    """Return the seconds of all rows, the seconds of the slowest row, and its number.

    Makes no object for each row: beside a million exceptions, every garbage collection takes seconds.
    """
    in_all, slowest, row, start = 0.0, 0.0, 0, 0
    for _, batch in result._batches:
        seconds = batch.outcomes.seconds[: batch.rows]
        in_all += sum(seconds)
        most = max(seconds, default=0.0)
        if most > slowest:
            slowest, row = most, start + seconds.index(most)
        start += batch.rows
    return in_all, slowest, row


class _Groups:
    """Group errors by node and class: their number, and one of them."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int], list[Any]] = {}
        self._ids: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._found)

    def has(self, error: BaseException) -> bool:
        """Whether this error, or its cause, was added."""
        return id(error) in self._ids or id(error.__cause__) in self._ids

    def add(self, path: str, error: BaseException) -> None:
        self._ids.add(id(error))
        self._found.setdefault((path, id(type(error))), [0, error])[0] += 1

    def add_rows(self, result: BatchResult, path: str) -> None:
        for _, error in result._failed_rows():
            self.add(path, error)

    def table(self, texts: ValueTexts, *, with_paths: bool) -> Table:
        """The most frequent first."""
        most = sorted(self._found.items(), key=lambda group: -group[1][0])
        rows = [
            (_from_the_right(path), f"{n} x {shown(class_name(error), NAME)}", texts.of_error(error))
            for (path, _), (n, error) in most[:KINDS]
        ]
        more = f"{len(most) - KINDS} more kinds: .errors has them all" if len(most) > KINDS else ""
        heads = ("node", "how many", "one of them")
        return Table("Errors", heads[not with_paths :], [row[not with_paths :] for row in rows], frozenset(), more)


def _error_line(error: BaseException, texts: ValueTexts) -> str:
    text = texts.of_error(error)
    return f"{shown(class_name(error), NAME)}{': ' if text else ''}{text}"


def _first_notes(notes: list[str]) -> list[str]:
    first = [shown(note, 400) for note in notes[:NOTES]]
    return first + ([f"and {len(notes) - NOTES} more in .problems"] if len(notes) > NOTES else [])


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {status}" for status, n in counts.items())


def _state(counts: dict[str, int]) -> str:
    if counts.keys() - set(ENDED):
        return "incomplete"
    if not count_with(counts, FAILURES):
        return "ok"
    return "some failed" if count_with(counts, HAS_RESULT) else "all failed"


def _many(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' * (n != 1)}"


def duration(seconds: float) -> str:
    """Return seconds as a text: "12 ms", "3.4 s", "2 min 05 s"."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
