"""What the widget of a batch shows: a page of rows in an order, and one row that is opened. Dicts of texts."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any

from ..core.statuses import HAS_RESULT, STATUSES
from ..core.text import many, quoted, shown
from ..runs.batch import BatchResult
from ..runs.rows import Item, rows_with_outcome
from ..stepper.output import short_traceback
from .columns import ABSENT, Column, Kind, columns_of, is_labelled, text_of_cell
from .html import colour_of
from .readable import LONG, readable, whole
from .summary import of_batch
from .values import CELL, ValueTexts, duration

__all__ = ["label_of", "opened", "page", "whole_text"]

PAGE = 20
SAMPLE = 100
"""The number of rows whose fields become columns."""
SEEN = 2 * CELL

SEARCHED = ("name", "text", "number", "error")
"""The kinds of columns whose cells are searched."""

Query = dict[str, Any]
"""What the front end asks for: ``sort``, the head of a column; ``down``; ``statuses``; ``search``; ``number``."""


def page(result: BatchResult, query: Query, texts: ValueTexts) -> dict[str, Any]:
    """Return a page of rows as the query asks for them, with what is known of the whole batch."""
    columns = _columns(result, texts)
    rows = _rows(result, columns, query, texts)
    pages = max(1, -(-len(rows) // PAGE))
    number = min(max(0, query["number"]), pages - 1)
    summary, counts = of_batch(result, is_short=True), result.counts
    return {
        "title": summary.title,
        "state": _chip(summary.state),
        "facts": " · ".join([*summary.facts[:1], *summary.facts[2:]]),
        "notes": list(summary.notes),
        "counts": [[*_chip(status.name), counts[status.name]] for status in STATUSES if status.name in counts],
        "columns": [[column.head, column.kind] for column in columns],
        "rows": [_row(row, result[row], columns, texts) for row in rows[number * PAGE : (number + 1) * PAGE]],
        "first": number * PAGE + 1,
        "matching": len(rows),
        "pages": pages,
        "query": {**query, "number": number},
    }


def opened(result: BatchResult, row: int, texts: ValueTexts) -> dict[str, Any]:
    """Return all that is known of a row. Values are cut, see `whole_text`."""
    item = result[row]
    facts = [many(item.attempts, "attempt"), *([duration(item.seconds)] if item.seconds else [])]
    facts += [f"last action {quoted(item.action)}"] if item.action is not None else []
    facts += [f"failed at {shown(item.failed_at, 200)}"] if item.failed_at else []
    return {
        "row": row,
        "label": label_of(result, row, texts),
        "status": _chip(item.status),
        "facts": " · ".join(facts),
        "hasCode": not result.run._read_from,
        "values": [[name, name, readable(value, texts, LONG)] for name, value in _values(result, item).items()],
        "traceback": "" if item.error is None else shown(short_traceback(item.error), LONG, keep_lines=True),
    }


def label_of(result: BatchResult, row: int, texts: ValueTexts) -> str:
    """Return how a row is named: by its label in the input, or by its number."""
    return text_of_cell("name", result[row].label if is_labelled(result) else row, texts, CELL)


def whole_text(result: BatchResult, row: int, name: str, texts: ValueTexts) -> str:
    """Return the whole text of a value of a row.

    Raises:
        KeyError: The row has no value with this name.
    """
    return whole(_values(result, result[row])[name], texts)


def _values(result: BatchResult, item: Item) -> dict[str, Any]:
    """Return the values of a row by their names."""
    values: dict[str, Any] = {"params": dict(item.params)} if item.params else {}
    values["param set" if result.is_of_params else "item"] = item.item
    if item.result is not None or item.status in HAS_RESULT:
        values["result"] = item.result
    return values


def _chip(word: str) -> list[str]:
    return [word, colour_of(word)]


def _row(row: int, item: Item, columns: Sequence[Column], texts: ValueTexts) -> list[Any]:
    return [row, [text_of_cell(kind, value(row, item), texts, SEEN) for _, kind, value in columns]]


def _columns(result: BatchResult, texts: ValueTexts) -> list[Column]:
    sample = list(islice(result, SAMPLE))
    columns, _ = columns_of(result, sample, texts)
    has_errors = any(outcome.error for _, outcome in rows_with_outcome(batch for _, batch in result._batches))
    return [column for column in columns if has_errors or column.kind != "error"]


def _rows(result: BatchResult, columns: list[Column], query: Query, texts: ValueTexts) -> Sequence[int]:
    """Return the numbers of the matching rows, in the chosen order. By default, failed rows come first."""
    by_head = {column.head: column.value for column in columns}
    if query["sort"] in by_head:
        return _sorted(_matching(result, columns, query, texts), by_head[query["sort"]], texts, is_down=query["down"])
    is_filtered = query["statuses"] or query["search"]
    rows = [row for row, _ in _matching(result, columns, query, texts)] if is_filtered else range(len(result))
    failed = {row: None for row, _ in result._failed_rows()}
    if not failed:
        return rows
    matching = set(rows)
    return [row for row in failed if row in matching] + [row for row in rows if row not in failed]


def _matching(
    result: BatchResult, columns: list[Column], query: Query, texts: ValueTexts
) -> Iterator[tuple[int, Item]]:
    """Yield the rows that have one of the statuses, and the text in one of their cells."""
    statuses, wanted = query["statuses"] or [status.name for status in STATUSES], query["search"].casefold()
    searched = [(column.kind, column.value) for column in columns if column.kind in SEARCHED]
    for row, item in enumerate(result):
        if item.status in statuses and (
            not wanted or any(wanted in _text(kind, value(row, item), texts).casefold() for kind, value in searched)
        ):
            yield row, item


def _text(kind: Kind, value: Any, texts: ValueTexts) -> str:
    """Return the searchable text of a value: a whole text, or the beginning of any other value."""
    if type(value) is str:
        return value
    return str(value) if type(value) in (int, float) else text_of_cell(kind, value, texts, LONG)


def _sorted(
    rows: Iterator[tuple[int, Item]], value: Callable[[int, Item], Any], texts: ValueTexts, *, is_down: bool
) -> list[int]:
    """Return rows sorted by a value: numbers before texts. Rows without a value come last, both ways."""
    keys = [(_key(value(row, item), texts), row) for row, item in rows]
    there = [(key, row) for key, row in keys if key is not None]
    there.sort(key=itemgetter(0), reverse=is_down)
    return [row for _, row in there] + [row for key, row in keys if key is None]


def _key(value: Any, texts: ValueTexts) -> tuple[int, Any] | None:
    if value is ABSENT or value is None or value != value:  # NaN
        return None
    if type(value) in (int, float, bool):
        return 0, value
    return 1, (value if type(value) is str else texts.of(value)).casefold()
