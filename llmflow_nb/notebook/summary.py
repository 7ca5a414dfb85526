"""Summaries of a run and of a batch: counts, errors, first rows. Plain texts, which `html` writes."""

from collections import Counter
from collections.abc import Iterable, Iterator
from html import escape
from itertools import islice
from typing import Any

from ..core.prices import dollars, sum_of
from ..core.statuses import ENDED, FAILURES, HAS_RESULT, count_with
from ..core.text import class_name, many, quoted, shown
from ..core.traversal import last_name
from ..core.usage import Usage
from ..journal.journal import Journal
from ..runs.batch import BatchResult
from ..runs.rows import Visit, unresolved
from ..runs.run import Run
from ..runs.run_plan import RunPlan
from .columns import USAGE_HEADS, Kind, columns_of, error_line, is_labelled, text_of_cell
from .frontend import is_static
from .html import MAX_HTML, Summary, Table
from .values import CELL, ValueTexts, duration

__all__ = ["of_batch", "of_journal", "of_plan", "of_run"]

ROWS = 10
KINDS = 5
MOST_NODES = 500
NOTES = 8
NAME = 80
INDENT = "\u2003"
"""A space that HTML does not take away."""
WHOLE = 2_000
"""The number of characters of a value, if the display has room for them."""
_OF_NODES: list[tuple[str, Kind]] = [
    ("node", "name"),
    ("visits", "number"),
    ("attempts", "number"),
    *USAGE_HEADS.items(),
    ("items", "text"),
    ("failed visits", "number"),
    ("seconds", "seconds"),
    ("slowest", "seconds"),
]


def of_run(run: Run) -> Summary:
    """Summarize a run: counts, the time of each node, failures, problems."""
    texts = ValueTexts()
    visits = run.visits
    results = run.batches
    by_path = _seconds_by_path(visits)
    resumed = len(visits) - sum(map(len, by_path.values()))
    for result in results:  # its first visit may be in progress
        if result._batches[0][1].plan.path == result.path:
            by_path.setdefault(result.path, [])
    facts = [many(run.visit_count - resumed, "visit"), many(run.calls, "call")]
    if run.seconds is not None and not is_static():
        facts.append(duration(run.seconds))
    if run.status in ("running", "killed") and run._recorder.where():
        facts.append(f"at {_from_the_right(run._recorder.where())}")
    if run.status == "ok" and run.action is not None:
        facts.append(f"last action {texts.of(run.action, NAME)}")
    failed = sum(count_with(result.counts, FAILURES) for result in results if not result.is_of_params)
    if failed:
        facts.append(many(failed, "failed item"))
    if run._recorder.all_usage():
        facts.append(str(run.usage))
    if run.abandoned:
        facts.append(f"{many(run.abandoned, 'blocking call')} could not be stopped")
    if run.reexecuted:
        facts.append(f"{many(run.reexecuted, 'call')} made again after a worker had died")
    notes = [_ended_by(run, run.error, texts)] if run.error is not None and run.status != "stopped" else []
    if run.visit_count > len(visits):
        dropped = run.visit_count - len(visits)
        notes.append(f"only the latest {many(len(visits), 'visit')} are kept; {dropped} earlier ones are only counted")
    notes += run.problems
    notes += [f"{path}: {note}" for path, note in run.notes]
    errors = _errors_table(_errors_in(run, results, visits), texts, with_paths=True)
    tables = [_nodes_table(run, visits, results, by_path), *errors]
    return Summary(shown(run.name, NAME), run.status, facts, _first_notes(notes), tables)


def of_plan(plan: RunPlan) -> Summary:
    """Summarize the plan of a run: a row for each node that makes calls."""
    columns: list[tuple[str, Kind]] = [
        ("node", "name"),
        ("answered", "number"),
        ("to call", "number"),
        ("unknown", "number"),
        ("why", "text"),
        ("expected", "text"),
    ]
    rows = [
        [
            _from_the_right(node.path),
            *(f"{n:,}" if n else "" for n in node[1:4]),
            shown(node.why, 400) if node.why else "",
            "" if node.expected is None else str(node.expected),
        ]
        for node in plan.nodes[:MOST_NODES]
    ]
    heads, rows = _without(columns, rows, set(), {"unknown", "why", "expected"})
    tables = [Table("", heads, rows)] if rows else []
    return Summary(shown(plan.name, NAME), "plan", [plan.headline], [], tables)


def _ended_by(run: Run, error: BaseException, texts: ValueTexts) -> str:
    """Return the error that ended a run, and whether a retry has resolved it."""
    resolved = "; a retry has resolved it: .resume() continues from there" * run._recorder.has_resolved(error)
    return f"{error_line(error, texts)}{resolved}"


def _errors_in(run: Run, results: list[BatchResult], visits: list[Visit]) -> Iterator[tuple[str, BaseException]]:
    """Yield each error of a run once, with the path of the node: errors of items, then errors of visits."""
    seen: set[int] = set()
    for result in results:
        if not result.is_of_params:  # a param set fails because of an item or a visit inside it
            for _, error in result._failed_rows():
                seen.add(id(error))
                yield result.path, error
    for visit, error in unresolved(run._recorder, visits):
        if not seen & {id(error), id(error.__cause__)}:
            seen.add(id(error))
            yield visit.path, error


def _seconds_by_path(visits: list[Visit]) -> dict[str, list[float]]:
    """Return the seconds of each visit, by path. A visit that was resumed has several rows in the record."""
    seconds: dict[str, dict[tuple[int, int], float]] = {}
    for visit in visits:
        of_node = seconds.setdefault(visit.path, {})
        key = id(visit.params), visit.visit
        of_node[key] = of_node.get(key, 0.0) + visit.seconds
    return {path: list(of_node.values()) for path, of_node in seconds.items()}


def _attempts_of_items(result: BatchResult | None) -> int:
    """Return the attempts over all items of a batch node, those of retries included."""
    return 0 if result is None or result.is_of_params else sum(batch.attempts for _, batch in result._batches)


def _nodes_table(run: Run, visits: list[Visit], results: list[BatchResult], by_path: dict[str, list[float]]) -> Table:
    """Return a row for each node: flows before their steps, steps in the order of their first visit."""
    names = {result.path: last_name(result.path) for result in results} | {visit.path: visit.node for visit in visits}
    attempts = Counter[str]()
    for visit in visits:
        attempts[visit.path] += visit.attempts
    failed = Counter(visit.path for visit, _ in unresolved(run._recorder, visits))
    batches = {result.path: result for result in results}
    used: dict[str, list[Usage]] = {}
    for visit in visits:
        used.setdefault(visit.path, []).extend(visit.usage)
    rows: list[list[str]] = []
    for path, depth in islice(_flows_first(list(by_path)), ROWS * 2):
        seconds, result = by_path[path], batches.get(path)
        tries = max(attempts[path], _attempts_of_items(result))
        rows.append(
            [
                INDENT * depth + shown(names[path], NAME),
                str(len(seconds)),
                str(tries) if tries else "",
                *_usage_cells(used.get(path, [])),
                "" if result is None else _counts(result.counts),
                str(failed[path]) if failed[path] else "",
                duration(sum(seconds)) if seconds else "",
                duration(max(seconds)) if seconds else "",
            ]
        )
    more = f"{len(by_path) - len(rows)} more nodes: .steps has them all" if len(by_path) > len(rows) else ""
    heads, rows = _without(
        _OF_NODES, rows, {"seconds", "slowest"} if is_static() else set(), {"items", "failed visits", *USAGE_HEADS}
    )
    return Table("", heads, rows, more)


def _usage_cells(usages: list[Usage]) -> list[str]:
    """Return tokens in, tokens out and cost; nothing for what is not known."""
    if not usages:
        return ["", "", ""]
    used = sum_of(usages)
    return [f"{used.tokens_in:,}", f"{used.tokens_out:,}", "" if used.cost is None else dollars(used.cost)]


def _flows_first(paths: list[str]) -> Iterator[tuple[str, int]]:
    """Yield each path with its depth, before the paths inside it. Others keep their order.

    A path is inside another path that is a prefix of it, up to a "/". Names may have a "/" of their own.
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


def of_batch(result: BatchResult, *, is_short: bool = False) -> Summary:
    """Summarize a batch: counts, the slowest row, errors by class, and the first rows, failures first.

    Args:
        result: The batch.
        is_short: Whether to leave out the tables.
    """
    counts = result.counts
    total = sum(counts.values())
    what = "param set" if result.is_of_params else "item"
    facts = [many(total, what), _counts(counts)] if counts else ["no items"]
    if result._replayed:
        facts[1] += f" ({result._replayed} replayed)"
    in_all, slowest, row = _seconds(result)
    if in_all and not is_static():
        which = quoted(result[row].label) if is_labelled(result) else row
        facts.append(f"{duration(in_all)} in all, {duration(slowest)} at most (row {which})")
    if result._usages():
        facts.append(str(result.usage))
    notes = [note for path, note in result.run.notes if path == result.path]
    state = "running" if result.run.status == "running" else _state(counts)
    if is_short:
        return Summary(_from_the_right(result.path), state, facts, _first_notes(notes))
    texts = ValueTexts()
    tables = _errors_table((("", error) for _, error in result._failed_rows()), texts, with_paths=False)
    if total:
        tables.append(_rows_table(result, total, texts))
    return Summary(_from_the_right(result.path), state, facts, _first_notes(notes), tables)


def of_journal(journal: Journal) -> Summary:
    """Summarize a journal: its latest runs, the newest first."""
    rows = journal._read()
    heads: list[tuple[str, Kind]] = [("run", "number"), ("flow", "name"), ("started", "name"), ("status", "status")]
    heads += [(name, "number") for name in ("called", "replayed", "failed", "unanswered")]
    heads += [("cost", "cost"), ("seconds", "seconds")]
    used = journal._usage_by_run() if rows else {}
    cells = [
        [
            str(number),
            shown(flow, NAME),
            f"{started:%Y-%m-%d %H:%M}",
            status,
            *(str(n) if n else "" for n in counts),
            used[number].short if number in used else "",
            "" if seconds is None else duration(seconds),
        ]
        for number, flow, started, seconds, status, *counts in rows[: ROWS * 2]
    ]
    more = f"{len(rows) - len(cells)} more runs: .runs has them all" if len(rows) > len(cells) else ""
    heads, cells = _without(
        heads, cells, {"seconds", "started"} if is_static() else set(), {"failed", "unanswered", "cost"}
    )
    return Summary(shown(journal.path, NAME), "", [many(len(rows), "run")], (), [Table("", heads, cells, more)])


def _rows_table(result: BatchResult, total: int, texts: ValueTexts) -> Table:
    failed = [row for row, _ in islice(result._failed_rows(), ROWS)]
    again = list(islice((row for row in result.called_again if row not in failed), ROWS - len(failed)))
    first = [*failed, *again]
    others = (row for row in range(total) if row not in first)
    rows = [(row, result[row]) for row in [*first, *islice(others, ROWS - len(first))]]
    columns, fields = columns_of(result, [item for _, item in rows], texts)
    for length in (WHOLE, CELL):
        cells = [
            [text_of_cell(kind, value(row, item), texts, length) for _, kind, value in columns] for row, item in rows
        ]
        if sum(len(escape(text)) for row in cells for text in row) < MAX_HTML // 2:
            break
    more = [f"{total - len(rows)} more rows: .df has them all"] if total > len(rows) else []
    more += [f"{many(fields, 'more field')}: .expand() has them all"] if fields else []
    which = " and ".join(["failed"] * bool(failed) + ["called again"] * bool(again))
    title = f"Rows, those {which} first" if which and len(first) < total else "Rows"
    heads = [(column.head, column.kind) for column in columns]
    heads, cells = _without(heads, cells, {"seconds"} if is_static() else set(), {"error"})
    return Table(title, heads, cells, "; ".join(more))


def _without(
    heads: list[tuple[str, Kind]], rows: list[list[str]], never: set[str], not_empty: set[str]
) -> tuple[list[tuple[str, Kind]], list[list[str]]]:
    """Leave out some columns always, and some if they are empty."""
    left_out = never | {
        head for n, (head, _) in enumerate(heads) if head in not_empty and not any(row[n] for row in rows)
    }
    keep = [n for n, (head, _) in enumerate(heads) if head not in left_out]
    return [heads[n] for n in keep], [[row[n] for n in keep] for row in rows]


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


def _errors_table(errors: Iterable[tuple[str, BaseException]], texts: ValueTexts, *, with_paths: bool) -> list[Table]:
    """Group errors by path and class: their number, and one of them, the most frequent first. No table if none."""
    groups: dict[tuple[str, int], list[Any]] = {}
    for path, error in errors:
        groups.setdefault((path, id(type(error))), [0, error])[0] += 1
    most = sorted(groups.items(), key=lambda group: -group[1][0])
    rows = [
        (_from_the_right(path), f"{n} x {shown(class_name(error), NAME)}", texts.of_error(error))
        for (path, _), (n, error) in most[:KINDS]
    ]
    more = f"{len(most) - KINDS} more kinds: .errors has them all" if len(most) > KINDS else ""
    columns: list[tuple[str, Kind]] = [("node", "name"), ("how many", "name"), ("one of them", "text")]
    table = Table("Errors", columns[not with_paths :], [row[not with_paths :] for row in rows], more)
    return [table] if rows else []


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
