"""The tables of a comparison. This file imports pandas, so it is imported only when a table is read."""

from collections import Counter
from typing import Any

import pandas as pd

from ..core.prices import UsageSum, sum_of
from ..runs.tables import TEXT, Columns, error_columns, index_from
from .measures import Measures
from .rows import Cell, Row

__all__ = ["regressions", "summary", "tidy", "wide"]

_COUNTS = ("better", "worse", "same")
_OF_DIFFERENCES = {**{name: name for name in _COUNTS}, "delta": "mean", "low": "low", "high": "high", "p": "p"}
"""The columns of the summary, and the attributes of `Difference` in them."""


def wide(measures: Measures) -> pd.DataFrame:
    """See `Comparison.df`."""
    table = Columns()
    rows, variants, others = measures.rows, measures.names, measures.others
    table.add_found("item", [row.any_cell().item.item for row in rows])
    for name in variants:
        table.add_found(name, [_result(row.first(name)) for row in rows])
    for name in others:
        is_changed = [measures.is_changed(row, name) for row in rows]
        table.add(_of_variant("changed", name, others), is_changed, "boolean")
    if any(map(any, measures.other_items.values())):
        for name in others:
            is_same = [not differs for differs in measures.other_items[name]]
            table.add(_of_variant("same_item", name, others), is_same, "boolean")
    for score in measures.scores:
        for name in variants:
            means = [measures.score(row, name, score) for row in rows]
            table.add(f"{_score_name(score)}.{name}", means, "Float64")
    for name in others if measures.scores else ():
        deltas = [measures.delta(row, name) for row in rows]
        table.add(_of_variant("delta", name, others), deltas, "Float64")
    if measures.scores and measures.repeats > 1:
        for name in variants:
            table.add(f"spread.{name}", [measures.spread(row, name) for row in rows], "Float64")
    for name in variants:
        table.add(f"status.{name}", [_status(row, name) for row in rows], TEXT)
    for name in variants:
        table.add(f"seconds.{name}", [_mean_seconds(row, name) for row in rows], "Float64")
    if measures.has_usage:
        for name in variants:
            table.add(f"cost.{name}", [_mean_cost(row, name) for row in rows], "Float64")
    return table.frame(_index(rows))


def _of_variant(column: str, name: str, others: list[str]) -> str:
    return column if len(others) == 1 else f"{column}.{name}"


def _score_name(score: str) -> str:
    return f"score.{score}" if score else "score"


def _result(cell: Cell | None) -> Any:
    return None if cell is None or not cell.has_result else cell.item.result


def _status(row: Row, variant: str) -> str | None:
    found = [cell.item.status for cell in row.cells[variant].values()]
    return next((status for status in found if status != "ok"), found[0] if found else None)


def _mean_seconds(row: Row, variant: str) -> float | None:
    found = [cell.item.seconds for cell in row.cells[variant].values()]
    return sum(found) / len(found) if found else None


def _mean_cost(row: Row, variant: str) -> float | None:
    used = [usage for cell in row.cells[variant].values() for usage in cell.item.usage]
    cost = sum_of(used, replayed=True).cost if used else None
    return None if cost is None else cost / len(row.cells[variant])


def _index(rows: list[Row]) -> pd.Index:
    """Return the labels of the input, or a count of the rows."""
    names = [row.any_cell().label_names for row in rows]
    if not names or None in names:
        return pd.RangeIndex(len(rows))
    return index_from([row.label for row in rows], list(names[0] or ()))


def tidy(measures: Measures, settings: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """See `Comparison.tidy`. ``settings``: the value of each setting in each variant."""
    found = [
        (name, row, repeat, cell)
        for name in measures.names
        for row in measures.rows
        for repeat, cell in row.cells[name].items()
    ]
    cells = [cell for *_, cell in found]
    table = Columns()
    table.add("variant", [name for name, *_ in found], TEXT)
    for what, values in settings.items():
        table.add_found(what, [values[name] for name, *_ in found])
    taken = ("row", "repeat", "item", "result", "status", "seconds", "error_type", "error")
    table.add_params([cell.item.params for cell in cells], taken)
    table.add_found("row", [row.label for _, row, *_ in found])
    table.add("repeat", [repeat + 1 for _, _, repeat, _ in found], "Int64")
    table.add_found("item", [cell.item.item for cell in cells])
    table.add_found("result", [_result(cell) for cell in cells])
    table.add("status", [cell.item.status for cell in cells])
    for score in measures.scores:
        table.add(_score_name(score), [cell.scored.values.get(score) for cell in cells], "Float64")
    table.add("seconds", [cell.item.seconds for cell in cells])
    if measures.has_usage:
        sums = [sum_of(cell.item.usage, replayed=True) if cell.item.usage else None for cell in cells]
        _add_usage(table, sums)
    errors = (cell.scored.error if cell.has_result else cell.item.error for cell in cells)
    kinds, texts = error_columns((error, "") for error in errors)
    table.add("error_type", kinds)
    table.add("error", texts)
    return table.frame()


def _add_usage(table: Columns, sums: list[UsageSum | None]) -> None:
    for name in ("tokens_in", "tokens_out", "cost"):
        table.add(name, [None if used is None else getattr(used, name) for used in sums])


def summary(measures: Measures, calls: dict[str, Counter[str]], usage: dict[str, UsageSum]) -> pd.DataFrame:
    """See `Comparison.summary`. ``calls``: see `Comparison`. ``usage``: of each variant."""
    table = Columns()
    rows, names = measures.rows, measures.names
    cells = {name: [cell for row in rows for cell in row.cells[name].values()] for name in names}
    table.add("rows", [len(cells[name]) for name in names], "Int64")
    table.add("failed", [sum(not cell.has_result for cell in cells[name]) for name in names], "Int64")
    if measures.is_scored:
        table.add("unscored", [measures.unscored(name) for name in names], "Int64")
    for score in measures.scores:
        means = [_mean([measures.score(row, name, score) for row in rows]) for name in names]
        table.add(_score_name(score), means, "Float64")
    differences = [measures.differences.get(name) for name in names]
    for column, field in _OF_DIFFERENCES.items() if measures.scores else ():
        dtype = "Int64" if column in _COUNTS else "Float64"
        table.add(column, [found and getattr(found, field) for found in differences], dtype)
    changed = [sum(measures.is_changed(row, name) for row in rows) for name in measures.others]
    table.add("changed", [None, *changed], "Int64")
    for count, column in (("called", "calls"), ("replayed", "replayed")):
        table.add(column, [calls[name][count] for name in names], "Int64")
    seconds = [sum(cell.item.seconds for cell in cells[name]) / measures.repeats for name in names]
    table.add("seconds", seconds)
    if any(used != UsageSum() for used in usage.values()):
        _add_usage(table, [usage[name] for name in names])
    return table.frame(pd.Index(names, name="variant", dtype=object))


def _mean(values: list[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


def regressions(measures: Measures) -> pd.DataFrame:
    """See `Comparison.regressions`."""
    numbers = {id(row): n for n, row in enumerate(measures.rows)}
    worse = [
        numbers[id(row)]
        for row in measures.worst_first()
        if any(measures.is_regression(row, name) for name in measures.others)
    ]
    return wide(measures).iloc[worse]
