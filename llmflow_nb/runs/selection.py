"""Find the rows of a table that a user chose: by labels, by a mask, or by a part of the table. Imports pandas."""

from typing import Any

import pandas as pd

from ..core.errors import RowError
from ..core.settings import is_whole
from ..core.text import quoted

__all__ = ["rows_of"]


def rows_of(df: pd.DataFrame, path: str, chosen: Any) -> list[int]:
    """Return the numbers of the chosen rows, from 0.

    Args:
        df: The table.
        path: The path of the batch, for errors.
        chosen: Labels, a mask over the table, or a part of the table.

    Raises:
        RowError: There is no such row, or a label names several.
    """
    if isinstance(chosen, pd.DataFrame):
        return _rows_of_part(df, chosen, path)
    if _is_mask(chosen):
        mask = chosen if isinstance(chosen, pd.Series) else pd.Series(list(chosen), dtype="boolean")
        if mask is not chosen and len(mask) == len(df):
            mask.index = df.index
        if not mask.index.equals(df.index):
            raise RowError(f"{path}: a mask must have one value for each of the {len(df)} rows of .df, and its index.")
        return [row for row, is_chosen in enumerate(mask.fillna(False)) if is_chosen]
    is_label = isinstance(chosen, tuple) and isinstance(df.index, pd.MultiIndex)
    if is_label or isinstance(chosen, str | bytes) or not hasattr(type(chosen), "__iter__"):
        chosen = [chosen]
    return _rows_by_label(df, list(chosen), path)


def _rows_by_label(df: pd.DataFrame, chosen: list[Any], path: str) -> list[int]:
    """Return the rows that have these labels. A whole number that is no label is a row number, from 0.

    But not if the labels are numbers: then a number that is no label is more likely a mistake than a row number.
    """
    better = "of .df itself, such as .df[mask]"
    labels = [_hashable(label) for label in df.index]
    if pd.api.types.is_any_real_numeric_dtype(df.index.dtype):
        return _rows_by(labels, chosen, path, better)
    known = set(labels)
    is_number = [is_whole(row) and row not in known and 0 <= row < len(labels) for row in chosen]
    numbers = [int(row) for row, is_row in zip(chosen, is_number, strict=True) if is_row]
    rest = [label for label, is_row in zip(chosen, is_number, strict=True) if not is_row]
    return sorted({*numbers, *_rows_by(labels, rest, path, better, or_numbers=True)})


def _rows_of_part(df: pd.DataFrame, part: pd.DataFrame, path: str) -> list[int]:
    """Return the rows that are in a part of the table. They have the same label, visit and position.

    Params are compared only if these are not enough to tell all rows apart, since pandas 2.2 may turn None to NaN when
    it makes a part of a table.
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
    if isinstance(chosen, pd.Series):
        return pd.api.types.is_bool_dtype(chosen)
    if not hasattr(type(chosen), "__len__") or isinstance(chosen, str | bytes) or not len(chosen):
        return False
    return pd.api.types.infer_dtype(list(chosen), skipna=False) == "boolean"


def _keys(df: pd.DataFrame, columns: list[str]) -> list[Any]:
    """Return the label of each row with its values in some columns."""
    return list(zip(df.index, *(map(_hashable, df[name].tolist()) for name in columns), strict=True))


def _hashable(value: Any) -> Any:
    """Return a hashable stand-in for a value. All missing values have the same one."""
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value):
        return None
    try:
        hash(value)
    except Exception:  # from a user's class
        return id(value)
    return value


def _rows_by(keys: list[Any], wanted: list[Any], path: str, better: str, *, or_numbers: bool = False) -> list[int]:
    rows: dict[Any, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    for key in wanted:
        found = rows.get(_hashable(key), [])
        if len(found) != 1:
            many = f"{len(found)} rows" if found else "no row"
            numbers = f", row numbers from 0 (here {', '.join(map(str, found[:5]))})" if or_numbers and found else ""
            raise RowError(
                f"{path} has {many} {quoted(key)}; give labels that name one row each{numbers}, or a part {better}."
            )
    return sorted({rows[_hashable(key)][0] for key in wanted})
