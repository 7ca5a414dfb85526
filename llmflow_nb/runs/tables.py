"""The record as pandas objects. The one file that imports pandas, and only when a table is asked for."""

import dataclasses
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from inspect import getattr_static
from numbers import Integral
from typing import Any

import pandas as pd

from ..core.errors import RowError
from ..core.settings import is_whole
from ..core.text import quoted, text_of
from ..engine.batch import PENDING, Batch
from .rows import Visit

__all__ = ["batch_table", "errors_table", "exceptions", "expanded", "mapped", "rows_of", "steps_table"]

Batches = list[tuple[int, Batch]]

# Kept with the objects themselves: pyarrow would copy every long text, and refuses a lone surrogate.
TEXT = pd.StringDtype("python")

# Of values of which all are the same kind, as `pandas.api.types.infer_dtype` names it.
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
    own: dict[str, list[Any]] = {
        name: []
        for name in (
            *("params", "visit", "position", "item", "result", "action", "status", "failed_at"),
            *("attempts", "seconds", "error"),
        )
    }
    where: list[str] = []
    for visit, batch in batches:
        n = batch.rows
        items, results, odd = _filled(batch.items or [], n), _filled(batch.results, n, PENDING), batch.odd.copy()
        for position, item in batch.dropped.items():
            items[position] = item
        status = ["pending" if result is PENDING else "ok" for result in results]
        attempts = [int(result is not PENDING) for result in results]
        errors: list[BaseException | None] = [None] * n
        failed_at: list[str | None] = [None] * n
        for position, outcome in odd.items():
            if position < n and not (outcome.status == "ok" and results[position] is PENDING):  # walked again just now
                status[position], attempts[position] = outcome.status, outcome.attempts
                errors[position], failed_at[position] = outcome.error, outcome.failed_at
        own["params"] += [_merged(batch, item) for item in items] if of_params else [batch.params] * n
        own["visit"] += [visit] * n
        own["position"] += range(n)
        own["item"] += items
        own["result"] += [None if result is PENDING else result for result in results]
        own["action"] += [_text_or_none(action) for action in _filled(batch.actions or [], n)]
        own["status"] += status
        own["failed_at"] += failed_at
        own["attempts"] += attempts
        own["seconds"] += _filled(batch.seconds, n, 0.0)
        own["error"] += errors
        what = "param set" if of_params else "item"
        where += [
            "" if error is None else _where(failed or batch.path, what, position, batch.total, tries - (how == "ok"))
            for position, (error, failed, tries, how) in enumerate(
                zip(errors, failed_at, attempts, status, strict=True)
            )
        ]
    own["error_type"], own["error"] = _errors(zip(own["error"], where, strict=True))
    if of_params:
        order = ["visit", "position", "result", "action", "status", "failed_at", "attempts", "seconds"]
    else:
        order = ["visit", "position", "item", "result", "status", "attempts", "seconds"]
    order += ["error_type", "error"]
    columns = _Columns()
    columns.add_params(own["params"], set(order))
    for name in order:
        columns.add(name, own[name])
    return columns.frame(_index(batches))


def exceptions(batches: Batches) -> "pd.Series[Any]":
    """See `BatchResult.exceptions`."""
    rows, found, start = [], [], 0
    for _, batch in batches:
        for position, outcome in sorted(batch.odd.copy().items()):
            if outcome.error is not None:
                rows.append(start + position)
                found.append(outcome.error)
        start += batch.rows
    return pd.Series(found, index=_index(batches).take(rows), name="exception", dtype=object)


def rows_of(df: pd.DataFrame, path: str, chosen: Any) -> list[int]:
    """The rows of a table, counted from 0, that a part of it, a mask over it, or labels stand for.

    Raises:
        RowError: There is no such row, or a label names several.
    """
    if not isinstance(chosen, pd.Series | pd.DataFrame) and _is_mask(chosen):  # an array, or a list of True and False
        if len(chosen) != len(df):
            raise RowError(
                f"{path}: a mask must have a value for each of the {len(df)} rows of .df, not {len(chosen)}."
            )
        chosen = pd.Series(list(chosen), index=df.index, dtype="boolean")
    if isinstance(chosen, pd.Series) and pd.api.types.is_bool_dtype(chosen):
        if not chosen.index.equals(df.index):
            raise RowError(f"{path}: a mask must be over .df, with a value for each of its {len(df)} rows.")
        return [row for row, is_chosen in enumerate(chosen.fillna(False)) if is_chosen]
    if isinstance(chosen, pd.DataFrame):
        return _rows_of_part(df, chosen, path)
    if isinstance(chosen, str | bytes) or not hasattr(type(chosen), "__iter__") or _is_label(df.index, chosen):
        chosen = [chosen]
    return _rows_by_label(df, list(chosen), path)


def _rows_by_label(df: pd.DataFrame, chosen: list[Any], path: str) -> list[int]:
    """The rows that have these labels. A whole number that is no label is the place of a row, counted from 0.

    In an index of numbers there are labels only: a number that is none of them is more likely a slip than a place.
    """
    better = "of .df itself, such as .df[mask]"
    labels = [_hashable(label) for label in df.index]
    if pd.api.types.is_any_real_numeric_dtype(df.index.dtype):
        return _rows_by(labels, chosen, path, better)
    known = set(labels)
    places = {int(row) for row in chosen if is_whole(row) and row not in known and 0 <= row < len(labels)}
    rest = [label for label in chosen if not (is_whole(label) and label not in known and label in places)]
    return sorted({*places, *_rows_by(labels, rest, path, better, or_places=True)})


def _rows_of_part(df: pd.DataFrame, part: pd.DataFrame, path: str) -> list[int]:
    """The rows of a table that a part of it has: those with its labels and, where it has them, its positions.

    Only where a label and a position name several rows, which visits with other params have, are the params compared:
    values change as a part of a table is made (pandas 2.2 turns None to NaN).
    """
    names = list(df.columns)
    params = [name for name in names[: names.index("visit")] if name in part.columns]
    columns = [name for name in ("visit", "position") if name in part.columns]
    keys = _keys(df, columns)
    if len(set(keys)) < len(keys):
        columns += params
        keys = _keys(df, columns)
    return _rows_by(keys, _keys(part, columns), path, 'with its columns "visit" and "position"')


def _is_mask(chosen: Any) -> bool:
    if not hasattr(type(chosen), "__len__") or isinstance(chosen, str | bytes) or not len(chosen):
        return False
    return pd.api.types.infer_dtype(list(chosen), skipna=False) == "boolean"


def _is_label(index: pd.Index, value: Any) -> bool:
    return isinstance(value, tuple) and isinstance(index, pd.MultiIndex)


def _keys(df: pd.DataFrame, columns: list[str]) -> list[Any]:
    """The label of each row, with its values in some columns."""
    return list(zip(df.index, *(map(_hashable, df[name].tolist()) for name in columns), strict=True))


def _hashable(value: Any) -> Any:
    """Return something that equals only what is made of the same value: a missing one is never equal to itself."""
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value):
        return None
    try:
        hash(value)
    except Exception:  # of a class of the user's
        return id(value)
    return value


def _rows_by(keys: list[Any], wanted: list[Any], path: str, better: str, *, or_places: bool = False) -> list[int]:
    rows: dict[Any, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    for key in wanted:
        found = rows.get(_hashable(key), [])
        if len(found) != 1:
            many = f"{len(found)} rows" if found else "no row"
            places = f", positions from 0 (here {', '.join(map(str, found[:5]))})" if or_places and found else ""
            raise RowError(
                f"{path} has {many} {quoted(key)}; give labels that name one row each{places}, or a part {better}."
            )
    return sorted({rows[_hashable(key)][0] for key in wanted})


def expanded(df: pd.DataFrame) -> pd.DataFrame:
    """See `BatchResult.expand`."""
    columns = _Columns()
    for name in df.columns:
        values = df[name]
        rows = [None if value is None else _fields(value) for value in values] if name in ("item", "result") else []
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
    """Return a table in which every value that is there, every label and every name has been changed."""

    def changed(values: Iterable[Any]) -> list[Any]:
        return [value if value is None or value is pd.NA or value is pd.NaT else change(value) for value in values]

    columns = [pd.Series(changed(df.iloc[:, place]), dtype=object) for place in range(df.shape[1])]
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
    """Columns on their way to a table, in order."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}

    def add(self, name: str, values: list[Any]) -> None:
        """Add a column of the table's own, in its dtype if it has one."""
        self.data[name] = _series(values, _FIXED.get(name))

    def add_found(self, name: str, values: list[Any], taken: Collection[str] = ()) -> None:
        """Add a column whose name is the user's: a second one of that name has a number behind it."""
        unique, n = name, 1
        while unique in self.data or unique in taken:
            n += 1
            unique = f"{name}#{n}"
        self.data[unique] = _series(values)

    def add_params(self, rows: list[Mapping[Any, Any]], taken: set[str]) -> None:
        """Add a column for each param, in the order in which they first come."""
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


# Of columns that have the same dtype whatever is in them, also if nothing is.
_FIXED: dict[str, Any] = {
    **dict.fromkeys(("step", "visit", "position", "attempts"), "Int64"),
    **dict.fromkeys(("seconds", "prep_s", "exec_s", "post_s"), "Float64"),
    **dict.fromkeys(("path", "node", "action", "status", "failed_at", "error_type", "error"), TEXT),
}


def _series(values: list[Any], dtype: Any = None) -> "pd.Series[Any]":
    """Values in a nullable dtype where all are of one kind that fits, else the objects themselves."""
    if dtype is None:
        kind = pd.api.types.infer_dtype(values, skipna=True)
        dtype = _DTYPES.get(kind)
        if dtype is not None and "integer" in kind:
            bits = 53 if kind == "mixed-integer-float" else 63  # of what a column of floats, or of integers, can hold
            whole = [value for value in values if isinstance(value, Integral)]
            dtype = dtype if all(-(2**bits) <= value < 2**bits for value in whole) else None
    if dtype is not None:
        try:
            typed: pd.Series[Any] = pd.Series(values, dtype=dtype)
            return typed
        except (OverflowError, TypeError, ValueError):  # values that only look as if they were all of this kind
            pass
    objects = pd.Series([None] * len(values), dtype=object).to_numpy(copy=True)
    for place, value in enumerate(values):  # one by one: numpy would ask a list of objects whether they are arrays
        objects[place] = value
    return pd.Series(objects, dtype=object)


def _index(batches: Batches) -> pd.Index:
    """The input's own index where every visit had one, else a count of the rows."""
    own = [batch.index for _, batch in batches if batch.index is not None and len(batch.index) == batch.rows]
    if own and len(own) == len(batches):
        index: pd.Index = own[0].append(own[1:]) if len(own) > 1 else own[0].copy()  # whose name the user may set
        return index
    return pd.RangeIndex(sum(batch.rows for _, batch in batches))


def _filled(values: Iterable[Any], n: int, rest: Any = None) -> list[Any]:
    """The first ``n`` values, filled up: another thread may be adding to them."""
    found = list(values)[:n]
    return found + [rest] * (n - len(found))


def _merged(batch: Batch, element: Any) -> Mapping[Any, Any]:
    """The params of a walk: those of the flow with the param set in them."""
    if isinstance(element, Mapping):
        return {**batch.params, **element}
    return batch.params if element is None else {**batch.params, batch.plan.item_key or "item": element}


def _errors(rows: Iterable[tuple[BaseException | None, str]]) -> tuple[list[str | None], list[str | None]]:
    """The names of exceptions and what they say, with where it was."""
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


def _fields(value: Any) -> Mapping[Any, Any] | None:
    """The fields of a dict, a dataclass, a NamedTuple, or an attrs, msgspec or pydantic object; None of anything else.

    One level deep, in the order of the class; of a pydantic model as ``model_dump`` lists them, with computed and extra
    fields. The class is asked, and not the object, which may answer to any attribute.
    """
    cls: Any = type(value)
    if issubclass(cls, Mapping):
        mapping: Mapping[Any, Any] = value
        return mapping
    names: Iterable[str]
    if _of_class(cls, "__pydantic_decorators__") and issubclass(cls, sys.modules["pydantic"].BaseModel):
        fields = [name for name, field in cls.model_fields.items() if field.exclude is not True]
        names = dict.fromkeys((*fields, *(value.model_extra or ()), *cls.__pydantic_decorators__.computed_fields))
    elif _of_class(cls, "__dataclass_fields__"):
        names = [field.name for field in dataclasses.fields(cls)]
    elif attributes := _of_class(cls, "__attrs_attrs__"):
        names = [attribute.name for attribute in attributes]
    else:
        names = _of_class(cls, "__struct_fields__") or _of_class(cls, "_fields")
        if not isinstance(names, tuple):
            return None
    return {name: _field(value, name) for name in names}


def _of_class(cls: type, name: str) -> Any:
    """An attribute of a class, and not of its metaclass, which may answer to any name; None where it has none."""
    return getattr_static(cls, name, None)


def _field(value: Any, name: str) -> Any:
    try:
        return getattr(value, name)
    except Exception:  # a computed field that fails must not hide the rest of the table
        return None


def history_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The rows of `Stepper.history`."""
    kinds: dict[str, Any] = {"place": "Int64", "visit": "Int64", "seconds": "Float64"}
    names = ("place", "path", "node", "visit", "action", "status", "seconds", "calls", "changed", "output", "error")
    columns = {name: [row[name] for row in rows] for name in names}
    return pd.DataFrame({name: pd.Series(column, dtype=kinds.get(name, TEXT)) for name, column in columns.items()})
