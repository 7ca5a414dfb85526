"""A record as pandas tables. Imported only when a table is read, since it imports pandas."""

from collections.abc import Callable, Collection, Iterable, Mapping
from numbers import Integral
from typing import Any

import pandas as pd

from ..core.text import text_of
from ..engine.batch import PENDING, Batch
from .fields import fields_of
from .rows import Visit, rows_with_outcome

__all__ = ["batch_table", "errors_table", "exceptions", "expanded", "history_table", "mapped", "steps_table"]

Batches = list[tuple[int, Batch]]

_OF_ITEMS = ("visit", "position", "item", "result", "status", "attempts", "seconds", "error_type", "error")
_OF_PARAM_SETS = (
    *("visit", "position", "result", "action", "status", "failed_at", "attempts", "seconds"),
    *("error_type", "error"),
)

# Keeps the str objects themselves: pyarrow would copy every long text, and refuses a lone surrogate.
TEXT = pd.StringDtype("python")

# The columns that have the same dtype whatever their values are, also if there are none.
_FIXED: dict[str, Any] = {
    **dict.fromkeys(("step", "visit", "position", "attempts"), "Int64"),
    **dict.fromkeys(("seconds", "prep_s", "exec_s", "post_s"), "Float64"),
    **dict.fromkeys(("path", "node", "action", "status", "failed_at", "error_type", "error"), TEXT),
}

# The dtypes of other columns, if all values are of one kind, as `pandas.api.types.infer_dtype` names it.
_DTYPES: dict[str, Any] = {
    "string": TEXT,
    "integer": "Int64",
    "floating": "Float64",
    "mixed-integer-float": "Float64",
    "boolean": "boolean",
}


def steps_table(visits: list[Visit]) -> pd.DataFrame:
    """See `Run.steps`."""
    fields = ("step", "path", "node", "visit", "action", "status", "attempts", "seconds", "prep_s", "exec_s", "post_s")
    fixed = {name: [getattr(visit, name) for visit in visits] for name in fields}
    fixed["action"] = [_text_or_none(action) for action in fixed["action"]]
    kinds, texts = _errors((visit.error, f"in {visit.path}") for visit in visits)
    columns = _Columns()
    for name in ("step", "path", "node", "visit"):
        columns.add(name, fixed[name])
    taken = {*fields, "error_type", "error"}
    columns.add_params([visit.params for visit in visits], taken)
    for name in fields[4:]:
        columns.add(name, fixed[name])
    columns.add("error_type", kinds)
    columns.add("error", texts)
    return columns.frame()


def errors_table(failures: list[tuple[str, int | None, BaseException]]) -> pd.DataFrame:
    """See `Run.errors`."""
    kinds, texts = _errors((error, "") for _, _, error in failures)
    columns = _Columns()
    columns.add("path", [path for path, _, _ in failures])
    columns.add("position", [position for _, position, _ in failures])
    columns.add("error_type", kinds)
    columns.add("error", texts)
    return columns.frame()


def batch_table(batches: Batches, *, of_params: bool) -> pd.DataFrame:
    """See `BatchResult.df`."""
    order = _OF_PARAM_SETS if of_params else _OF_ITEMS
    values: dict[str, list[Any]] = {name: [] for name in ("params", *order)}
    for number, batch in batches:
        for name, column in _columns_of(number, batch, of_params=of_params).items():
            if name in values:
                values[name] += column
    columns = _Columns()
    columns.add_params(values["params"], set(order))
    for name in order:
        columns.add(name, values[name])
    return columns.frame(_index(batches))


def _columns_of(number: int, batch: Batch, *, of_params: bool) -> dict[str, list[Any]]:
    """Return the columns of one visit, all equally long: another thread may be adding to the batch."""
    n = batch.rows
    items, results, outcomes = (
        _filled(batch.items.values or [], n),
        _filled(batch.outcomes.results, n, PENDING),
        batch.outcomes.exceptional.copy(),
    )
    for position, item in batch.items.dropped.items():
        items[position] = item
    status = ["pending" if result is PENDING else "ok" for result in results]
    attempts = [int(result is not PENDING) for result in results]
    errors: list[BaseException | None] = [None] * n
    failed_at: list[str | None] = [None] * n
    for position, outcome in outcomes.items():
        if position < n and not (outcome.status == "ok" and results[position] is PENDING):  # is just being run again
            status[position], attempts[position] = outcome.status, outcome.attempts
            errors[position], failed_at[position] = outcome.error, outcome.failed_at
    what = "param set" if of_params else "item"
    where = (
        "" if error is None else _where(failed or batch.path, what, position, batch.items.total, tries - (how == "ok"))
        for position, (error, failed, tries, how) in enumerate(zip(errors, failed_at, attempts, status, strict=True))
    )
    error_types, error_texts = _errors(zip(errors, where, strict=True))
    return {
        "params": [_merged(batch, item) for item in items] if of_params else [batch.params] * n,
        "visit": [number] * n,
        "position": list(range(n)),
        "item": items,
        "result": [None if result is PENDING else result for result in results],
        "action": [_text_or_none(action) for action in _filled(batch.outcomes.actions or [], n)],
        "status": status,
        "failed_at": failed_at,
        "attempts": attempts,
        "seconds": _filled(batch.outcomes.seconds, n, 0.0),
        "error_type": error_types,
        "error": error_texts,
    }


def exceptions(batches: Batches) -> "pd.Series[Any]":
    """See `BatchResult.exceptions`."""
    outcomes = rows_with_outcome(batch for _, batch in batches)
    found = {row: outcome.error for row, outcome in outcomes if outcome.error is not None}
    return pd.Series(list(found.values()), index=_index(batches).take(list(found)), name="exception", dtype=object)


def expanded(df: pd.DataFrame) -> pd.DataFrame:
    """See `BatchResult.expand`."""
    columns = _Columns()
    for name in df.columns:
        values = df[name]
        rows = [None if value is None else fields_of(value) for value in values] if name in ("item", "result") else []
        there = [value is not None and value is not pd.NA for value in values] if rows else []
        if not any(there) or any(row is None for row, is_there in zip(rows, there, strict=True) if is_there):
            columns.data[name] = values.reset_index(drop=True)
            continue
        fields: dict[Any, None] = {}
        for row in rows:
            fields.update(dict.fromkeys(row or ()))
        for field in fields:
            found = [None if row is None else row.get(field) for row in rows]
            columns.add_found(f"{name}.{field}", found, df.columns)
    return columns.frame(df.index)


def mapped(df: pd.DataFrame, change: Callable[[Any], Any]) -> pd.DataFrame:
    """Return a copy of a table with every value that is not missing, every label and every name changed."""

    def changed(values: Iterable[Any]) -> list[Any]:
        return [value if value is None or value is pd.NA or value is pd.NaT else change(value) for value in values]

    columns = [pd.Series(changed(df.iloc[:, n]), dtype=object) for n in range(df.shape[1])]
    table = pd.DataFrame(dict(enumerate(columns)))
    levels = [changed(df.index.get_level_values(level)) for level in range(df.index.nlevels)]
    names = changed(df.index.names)
    if len(levels) > 1:
        table.index = pd.MultiIndex.from_arrays(levels, names=names)
    else:
        table.index = pd.Index(levels[0], dtype=object, name=names[0])
    table.columns = pd.Index(changed(df.columns), dtype=object)
    return table


class _Columns:
    """Collect the columns of a table, in order."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}

    def add(self, name: str, values: list[Any]) -> None:
        """Add a column of the library, in its fixed dtype if it has one."""
        self.data[name] = _series(values, _FIXED.get(name))

    def add_found(self, name: str, values: list[Any], taken: Collection[str] = ()) -> None:
        """Add a column that the user named. A second column of the same name gets a number behind it."""
        unique, n = name, 1
        while unique in self.data or unique in taken:
            n += 1
            unique = f"{name}#{n}"
        self.data[unique] = _series(values)

    def add_params(self, rows: list[Mapping[Any, Any]], taken: set[str]) -> None:
        """Add a column for each param, in the order of their first appearance."""
        keys: dict[Any, None] = {}
        seen = None
        for row in rows:
            if row is not seen:  # the same for all items of a visit
                keys.update(dict.fromkeys(row))
                seen = row
        for key in keys:
            name = str(key)
            while name in taken or name in self.data:
                name = f"params.{name}"
            self.add_found(name, [row.get(key) for row in rows])

    def frame(self, index: Any = None) -> pd.DataFrame:
        df = pd.DataFrame(dict(enumerate(self.data.values())))
        if not self.data:
            df = pd.DataFrame(index=index)
        elif index is not None:
            df.index = index
        try:
            df.columns = list(self.data)
        except UnicodeError:  # a lone surrogate in a name
            df.columns = pd.Index(list(self.data), dtype=object)
        return df


def _series(values: list[Any], dtype: Any = None) -> "pd.Series[Any]":
    """Return values in a nullable dtype if all are of one kind that fits it, else as objects."""
    if dtype is None:
        kind = pd.api.types.infer_dtype(values, skipna=True)
        dtype = _DTYPES.get(kind)
        if dtype is not None and "integer" in kind:
            bits = 53 if kind == "mixed-integer-float" else 63  # that a column of floats, or of integers, can hold
            whole = [value for value in values if type(value) is int or isinstance(value, Integral)]
            fits = not whole or (-(2**bits) <= min(whole) and max(whole) < 2**bits)
            dtype = dtype if fits else None
    if dtype is not None:
        try:
            typed: pd.Series[Any] = pd.Series(values, dtype=dtype)
            return typed
        except (OverflowError, TypeError, ValueError):  # the values only look as if all were of this kind
            pass
    objects = pd.Series([None] * len(values), dtype=object).to_numpy(copy=True)
    for n, value in enumerate(values):  # one by one: numpy would check for each element of a list if it is an array
        objects[n] = value
    return pd.Series(objects, dtype=object)


def _index(batches: Batches) -> pd.Index:
    """Return the index of the input if every visit had one, else a count of the rows."""
    own = [
        batch.items.index
        for _, batch in batches
        if batch.items.index is not None and len(batch.items.index) == batch.rows
    ]
    if own and len(own) == len(batches):
        index: pd.Index = (
            own[0].append(own[1:]) if len(own) > 1 else own[0].copy()
        )  # a copy, whose name the user may set
        return index
    return pd.RangeIndex(sum(batch.rows for _, batch in batches))


def _filled(values: Iterable[Any], n: int, rest: Any = None) -> list[Any]:
    """Return the first ``n`` values, filled up to ``n``."""
    found = list(values)[:n]
    return found + [rest] * (n - len(found))


def _merged(batch: Batch, element: Any) -> Mapping[Any, Any]:
    """Return the params of a walk: those of the flow merged with the param set."""
    if isinstance(element, Mapping):
        return {**batch.params, **element}
    return batch.params if element is None else {**batch.params, batch.plan.item_key or "item": element}


def _errors(rows: Iterable[tuple[BaseException | None, str]]) -> tuple[list[str | None], list[str | None]]:
    """Return the class names of exceptions, and their texts with the location."""
    kinds: list[str | None] = []
    texts: list[str | None] = []
    for error, where in rows:
        kinds.append(None if error is None else type(error).__name__)
        texts.append(None if error is None else _and_where(text_of(error), where))
    return kinds, texts


def _and_where(text: str, where: str) -> str:
    return " ".join([text] * bool(text) + [f"({where})"] * bool(where))


def _where(path: str, what: str, position: int, total: int | None, attempts: int) -> str:
    of = "" if total is None else f" of {total}"
    tries = f", attempt {attempts}" if attempts > 1 else ""
    return f"in {path}, {what} {position + 1}{of}{tries}"


def _text_or_none(action: Any) -> str | None:
    return None if action is None else text_of(action)


def history_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the table of `Stepper.history`."""
    kinds: dict[str, Any] = {"place": "Int64", "visit": "Int64", "seconds": "Float64"}
    names = ("place", "path", "node", "visit", "action", "status", "seconds", "calls", "changed", "output", "error")
    columns = {name: [row[name] for row in rows] for name in names}
    return pd.DataFrame({name: pd.Series(column, dtype=kinds.get(name, TEXT)) for name, column in columns.items()})
