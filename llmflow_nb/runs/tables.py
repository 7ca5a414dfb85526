"""The tables of a record. This file imports pandas, so it is imported only when a table is read."""

from collections.abc import Callable, Collection, Iterable, Mapping
from numbers import Integral
from typing import Any

import pandas as pd

from ..core.prices import sum_of
from ..core.text import text_of
from ..core.usage import Usage
from ..engine.batch import PENDING, Batch
from ..engine.events import ReplayedAttempts
from .fields import fields_of
from .rows import PlannedCall, UsageOfSets, Visit, rows_with_outcome

__all__ = [
    "TEXT",
    "Columns",
    "batch_table",
    "error_columns",
    "errors_table",
    "exceptions",
    "expanded",
    "history_table",
    "index_from",
    "mapped",
    "plan_table",
    "series",
    "steps_table",
]

Batches = list[tuple[int, Batch]]

_ERROR = ("error_type", "error")
_OF_VISITS = ("step", "path", "node", "visit", "action", "status", "attempts", "seconds", "prep_s", "exec_s", "post_s")
_OF_ITEMS = ("visit", "position", "item", "result", "status", "attempts", "seconds", *_ERROR)
_OF_PARAM_SETS = ("visit", "position", "result", "action", "status", "failed_at", "attempts", "seconds", *_ERROR)
_OF_USAGE = ("tokens_in", "tokens_out", "cost")
_OF_HISTORY = ("place", "path", "node", "visit", "action", "status", "seconds", "calls", "changed", "output", "error")

# Keeps the str objects themselves: pyarrow would copy every long text, and refuses a lone surrogate.
TEXT = pd.StringDtype("python")

# The columns that always have the same dtype, even without values.
_FIXED: dict[str, Any] = {
    **dict.fromkeys(("step", "visit", "position", "attempts", "place", "tokens_in", "tokens_out"), "Int64"),
    **dict.fromkeys(("seconds", "prep_s", "exec_s", "post_s", "cost"), "Float64"),
    **dict.fromkeys(("path", "node", "action", "status", "failed_at", "worker", "error_type", "error"), TEXT),
    **dict.fromkeys(("calls", "changed", "output", "why"), TEXT),
    "replayed": "boolean",
}

# The dtype of any other column whose values are all of one kind, as `pandas.api.types.infer_dtype` names it.
_DTYPES: dict[str, Any] = {
    "string": TEXT,
    "integer": "Int64",
    "floating": "Float64",
    "mixed-integer-float": "Float64",
    "boolean": "boolean",
}


def steps_table(visits: list[Visit], *, has_journal: bool) -> pd.DataFrame:
    """See `Run.steps`."""
    order = _with(_OF_VISITS, "replayed", "status") if has_journal else _OF_VISITS
    values: dict[str, list[Any]] = {name: [getattr(visit, name, None) for visit in visits] for name in order}
    if has_journal:
        values["replayed"] = [
            isinstance(visit.attempts, ReplayedAttempts) if visit.attempts else None for visit in visits
        ]
    usages = [visit.usage for visit in visits]
    if any(usages):
        order = _with_usage(order, "post_s")
        values = {name: values.get(name, []) for name in order} | _usage_columns(usages)
    values["action"] = [_text_or_none(action) for action in values["action"]]
    values["error_type"], values["error"] = error_columns((visit.error, f"in {visit.path}") for visit in visits)
    columns = Columns()
    for name, column in values.items():
        if name == "action":
            columns.add_params([visit.params for visit in visits], values)
        columns.add(name, column)
    return columns.frame()


def errors_table(failures: list[tuple[str, int | None, BaseException]]) -> pd.DataFrame:
    """See `Run.errors`."""
    kinds, texts = error_columns((error, "") for _, _, error in failures)
    columns = Columns()
    columns.add("path", [path for path, _, _ in failures])
    columns.add("position", [position for _, position, _ in failures])
    columns.add("error_type", kinds)
    columns.add("error", texts)
    return columns.frame()


def plan_table(calls: list[PlannedCall]) -> pd.DataFrame:
    """See `RunPlan.df`."""
    columns = Columns()
    columns.add("path", [call.path for call in calls])
    columns.add_params([call.params for call in calls], ("path", "position", "item", "status", "why"))
    columns.add("position", [call.position for call in calls])
    columns.add("item", [call.item for call in calls])
    columns.add("status", ["to call" if call.why else "answered" for call in calls])
    columns.add("why", [call.why or None for call in calls])
    return columns.frame()


def history_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """See `Stepper.history`."""
    columns = Columns()
    for name in _OF_HISTORY:
        columns.add(name, [row[name] for row in rows])
    return columns.frame()


def _with(names: tuple[str, ...], name: str, after: str) -> tuple[str, ...]:
    """Return the names of columns with one more, after another one."""
    n = names.index(after) + 1
    return *names[:n], name, *names[n:]


def batch_table(
    batches: Batches, *, of_params: bool, has_journal: bool, usage: UsageOfSets | None = None
) -> pd.DataFrame:
    """See `BatchResult.df`."""
    order: tuple[str, ...] = _OF_PARAM_SETS if of_params else _OF_ITEMS
    if has_journal and not of_params:
        order = _with(order, "replayed", "status")
    if any(batch.outcomes.workers for _, batch in batches):
        order = _with(order, "worker", "seconds")
    usages = [
        batch.usage.of(position) if usage is None else usage.get((id(batch), position), ())
        for _, batch in batches
        for position in range(batch.rows)
    ]
    if any(usages):
        order = _with_usage(order, "seconds")
    values: dict[str, list[Any]] = {name: [] for name in ("params", *order)}
    for number, batch in batches:
        for name, column in _columns_of(number, batch, of_params=of_params).items():
            if name in values:
                values[name] += column
    if any(usages):
        values.update(_usage_columns(usages))
    columns = Columns()
    columns.add_params(values["params"], order)
    for name in order:
        columns.add(name, values[name])
    return columns.frame(_index(batches))


def _with_usage(names: tuple[str, ...], after: str) -> tuple[str, ...]:
    n = names.index(after) + 1
    return *names[:n], *_OF_USAGE, *names[n:]


def _usage_columns(usages: list[tuple[Usage, ...]]) -> dict[str, list[Any]]:
    """Return the columns of what the calls of each row have used; None for a row that has reported nothing."""
    sums = [sum_of(usage) if usage else None for usage in usages]
    return {name: [None if used is None else getattr(used, name) for used in sums] for name in _OF_USAGE}


def _columns_of(number: int, batch: Batch, *, of_params: bool) -> dict[str, list[Any]]:
    """Return the columns of one visit, equally long even if another thread adds to the batch now."""
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
        if position < n and not (outcome.status == "ok" and results[position] is PENDING):  # it is run again now
            status[position], attempts[position] = outcome.status, outcome.attempts
            errors[position], failed_at[position] = outcome.error, outcome.failed_at
    what = "param set" if of_params else "item"
    where = (
        "" if error is None else _where(failed or batch.path, what, position, batch.items.total, tries - (how == "ok"))
        for position, (error, failed, tries, how) in enumerate(zip(errors, failed_at, attempts, status, strict=True))
    )
    error_types, error_texts = error_columns(zip(errors, where, strict=True))
    return {
        "params": [_merged(batch, item) for item in items] if of_params else [batch.params] * n,
        "visit": [number] * n,
        "position": list(range(n)),
        "item": items,
        "result": [None if result is PENDING else result for result in results],
        "action": [_text_or_none(action) for action in _filled(batch.outcomes.actions or [], n)],
        "status": status,
        "worker": [batch.outcomes.workers.get(position) for position in range(n)],
        "replayed": [position in batch.outcomes.replayed for position in range(n)],
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
    columns = Columns()
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
    """Return a copy of a table in which a function has changed every label, every name and every present value."""

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


class Columns:
    """Collect the columns of a table, in order."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}

    def add(self, name: str, values: list[Any], dtype: Any = None) -> None:
        """Add a column that the library names. A known name has a dtype of its own."""
        self.data[name] = series(values, dtype or _FIXED.get(name))

    def add_found(self, name: str, values: list[Any], taken: Collection[str] = ()) -> None:
        """Add a column that the user names. A number is appended to a name that is taken."""
        unique, n = name, 1
        while unique in self.data or unique in taken:
            n += 1
            unique = f"{name}#{n}"
        self.data[unique] = series(values)

    def add_params(self, rows: list[Mapping[Any, Any]], taken: Collection[str]) -> None:
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
        """Return the table, with an index or with a count of the rows."""
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


def series(values: list[Any], dtype: Any = None) -> "pd.Series[Any]":
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
        except (OverflowError, TypeError, ValueError):  # not all values are of this kind after all
            pass
    objects = pd.Series([None] * len(values), dtype=object).to_numpy(copy=True)
    for n, value in enumerate(values):  # one by one: numpy would look inside lists
        objects[n] = value
    return pd.Series(objects, dtype=object)


def _index(batches: Batches) -> pd.Index:
    """Return the index of the input if every visit had one, else a count of the rows."""
    own = [batch.items.index for _, batch in batches]
    has_index = [index is not None and len(index) == batch.rows for index, (_, batch) in zip(own, batches, strict=True)]
    if not own or not all(has_index):
        return pd.RangeIndex(sum(batch.rows for _, batch in batches))
    index: pd.Index = own[0].append(own[1:]) if len(own) > 1 else own[0].copy()  # the user may set its name
    return index


def index_from(labels: list[Any], names: list[Any]) -> pd.Index:
    """Return an index with these labels, which are tuples if it has several levels."""
    return pd.MultiIndex.from_tuples(labels, names=names) if len(names) > 1 else pd.Index(labels, name=names[0])


def _filled(values: Iterable[Any], n: int, rest: Any = None) -> list[Any]:
    """Return the first ``n`` values, filled up to ``n``."""
    found = list(values)[:n]
    return found + [rest] * (n - len(found))


def _merged(batch: Batch, element: Any) -> Mapping[Any, Any]:
    """Return the params of a walk: those of the flow merged with the param set."""
    if isinstance(element, Mapping):
        return {**batch.params, **element}
    return batch.params if element is None else {**batch.params, batch.plan.settings.item_key or "item": element}


def error_columns(rows: Iterable[tuple[BaseException | None, str]]) -> tuple[list[str | None], list[str | None]]:
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
