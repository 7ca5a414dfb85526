"""What a batch can run over: which values are many items, which are one record, and how each is iterated.

A batch pays for every item, so a value that is hardly meant as a batch is refused before the first call: a string, a
mapping, and any *record*, an object that has its fields declared by its class. Tables give their rows as dicts, and
arrays, Series and columns give plain Python values, so that an item can be compared, formatted and written as JSON.
"""

import sys
from collections import Counter, UserString, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from inspect import getattr_static
from itertools import chain
from types import FunctionType
from typing import Any

from ..core.errors import HookReturnError, a_type
from ..core.loaded import loaded
from ..core.text import quoted
from .awaitables import is_awaitable

__all__ = ["COLLECTIONS", "added_since", "index_of", "is_iterator", "iterate", "length", "plain_value"]

COLLECTIONS = frozenset({list, tuple, set, frozenset, range, deque})
"""Classes whose objects are many items and can be read again. Asking on what a list is costs 15 us."""

CHUNK = 1024
"""Rows of a table that are converted to Python values at a time."""


def iterate(returned: Any, what: str) -> Any:
    """Return an iterator, or an async one, over the items of what ``prep`` returned.

    Raises:
        HookReturnError: It is not iterable, or it is one value and not many; says what to write instead.
    """
    __tracebackhide__ = True
    if returned is None:
        return iter(())
    cls = type(returned)
    if cls in COLLECTIONS or is_iterator(returned):
        return iter(returned)
    if hasattr(cls, "__aiter__"):
        return aiter(returned)
    rows = _rows(returned, what)
    if rows is not None:
        return rows
    _refuse_one_value(returned, what)
    try:
        return iter(returned)
    except TypeError as exc:
        raise HookReturnError(f"{what} must return an iterable, but {cls.__name__} is not iterable: {exc}") from exc


def is_iterator(value: Any) -> bool:
    """Whether a value is an iterator, which can be read only once."""
    return hasattr(type(value), "__next__")


def index_of(returned: Any) -> Any:
    """Return the index of a pandas DataFrame or Series; None for anything else."""
    pandas = loaded("pandas", "DataFrame")  # whoever has a DataFrame has imported it
    return returned.index if pandas is not None and isinstance(returned, pandas.DataFrame | pandas.Series) else None


def length(items: Any) -> int | None:
    """Return the number of items, or None if their container cannot say."""
    try:
        return len(items)
    except Exception:  # no length, or one that fails: a progress bar around a generator
        return None


def added_since(items: list[Any], returned: Sequence[Any]) -> Iterator[Any]:
    """Also yield what a hook appends to the very list that ``prep`` returned, as a for loop does."""
    while len(items) < len(returned):
        items.append(returned[len(items)])
        yield items[-1]


# ---- tables, columns and arrays --------------------------------------------------------------------------------------


def _rows(value: Any, what: str) -> Iterator[Any] | None:
    """Return an iterator of the rows of a table, or of the values of a column or an array; None for anything else.

    A library is asked for only if the program has imported it: else the value cannot be from it.
    """
    numpy, pandas = loaded("numpy", "ndarray"), loaded("pandas", "api")
    polars, pyarrow = loaded("polars", "DataFrame"), loaded("pyarrow", "Table")
    if pandas is not None:
        if isinstance(value, pandas.DataFrame):
            return _rows_of_frame(value, what)
        if isinstance(value, pandas.Series | pandas.Index | pandas.api.extensions.ExtensionArray):
            if isinstance(value, pandas.MultiIndex):
                value = value.to_numpy()
            column = pandas.Series(value)
            return chain.from_iterable(_values(column.iloc[at : at + CHUNK]) for at in _starts(column))
    if numpy is not None and isinstance(value, numpy.ndarray) and value.ndim == 1:
        return chain.from_iterable(_values_of_array(value[at : at + CHUNK]) for at in _starts(value))
    if polars is not None and isinstance(value, polars.LazyFrame):
        raise HookReturnError(f"{what} returned a LazyFrame, which has no rows yet. Return frame.collect().")
    if polars is not None and isinstance(value, polars.DataFrame):
        rows: Iterator[Any] = value.iter_rows(named=True)
        return rows
    if pyarrow is not None and isinstance(
        value, pyarrow.Table | pyarrow.RecordBatch | pyarrow.Array | pyarrow.ChunkedArray
    ):
        return chain.from_iterable(value.slice(at, CHUNK).to_pylist() for at in _starts(value))
    return None


def _starts(value: Any) -> range:
    return range(0, len(value), CHUNK)


def _rows_of_frame(frame: Any, what: str) -> Iterator[dict[Any, Any]]:
    names = list(frame.columns)
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise HookReturnError(
            f"{what} returned a DataFrame with two columns named {quoted(twice[0])}; rename one of them."
        )
    return chain.from_iterable(_dicts(names, frame.iloc[at : at + CHUNK]) for at in _starts(frame))


def _dicts(names: list[Any], frame: Any) -> Iterator[dict[Any, Any]]:
    if not names:
        return ({} for _ in range(len(frame)))
    columns = [_values(frame.iloc[:, place]) for place in range(len(names))]
    return (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))


def _values(column: Any) -> list[Any]:
    """Return the values of a pandas Series as plain Python values.

    A missing value is None, whatever the column marks it with (NaN, NA, NaT). A column of numpy floats is the
    exception: there NaN may be a number that was computed, so it stays. Timestamps stay those of pandas.
    """
    numpy = sys.modules["numpy"]
    values: list[Any] = column.tolist()
    if isinstance(column.dtype, numpy.dtype) and column.dtype.kind in "biufc":
        return values
    if any(issubclass(kind, numpy.generic) for kind in set(map(type, values))):
        values = [plain_value(value) for value in values]
    missing = column.isna()
    if missing.any():
        values = [None if is_missing else value for value, is_missing in zip(values, missing, strict=True)]
    return values


def _values_of_array(array: Any) -> Iterable[Any]:
    """Return the elements of a numpy array of one dimension as plain Python values, those with fields as dicts."""
    if array.dtype.names:
        return (dict(zip(array.dtype.names, row, strict=True)) for row in array.tolist())
    if array.dtype.kind in "biufcUS":
        values: list[Any] = array.tolist()
        return values
    return map(plain_value, array)


def plain_value(value: Any) -> Any:
    """Return a numpy number, bool or text as the Python value that it stands for; anything else as it is."""
    numpy = loaded("numpy", "ndarray")
    if numpy is None or not isinstance(value, numpy.number | numpy.bool_ | numpy.character):
        return value
    return value if isinstance(value, numpy.timedelta64) else value.item()


# ---- what is one value -----------------------------------------------------------------------------------------------


def _refuse_one_value(returned: Any, what: str) -> None:
    """Refuse what can be iterated, or looks as if it could, but is one value.

    Raises:
        HookReturnError: Says what to write instead.
    """
    __tracebackhide__ = True
    cls = type(returned)
    found = f"{what} returned {a_type(returned)}"
    if isinstance(returned, str | bytes | bytearray | memoryview | UserString):
        raise HookReturnError(f"{found}. For one item return [text], for its parts list(text).")
    if isinstance(returned, Mapping):
        raise HookReturnError(
            f"{found}. For one item return [mapping], for its keys list(mapping), for pairs list(mapping.items())."
        )
    if _is_table(cls):
        raise HookReturnError(
            f"{found}, a table that is not iterated by rows. Return a list of its rows as dicts, or a pandas DataFrame."
        )
    if is_awaitable(returned):
        raise HookReturnError(f"{found}, which was never awaited. Make the hook async, and await it there.")
    if not hasattr(cls, "__iter__") and not hasattr(cls, "__getitem__"):
        raise HookReturnError(f"{found}, which cannot be iterated. For one item return [value].")
    if _is_record(cls) or _is_like_a_dict(cls):
        raise HookReturnError(f"{found}, a single object. For one item return [value], for its parts list(value).")


def _is_like_a_dict(cls: type) -> bool:
    """Whether objects of a class are read by keys: a row of sqlite3, the headers of a mail. Not an XML element."""
    return callable(getattr(cls, "keys", None)) and hasattr(cls, "__getitem__") and not hasattr(cls, "append")


def _is_record(cls: type) -> bool:
    """Whether objects of a class are one record: a NamedTuple, a dataclass, an attrs, pydantic or msgspec object.

    If the class defines both how it is iterated and how long it is (or how it is indexed), it is a container.
    """
    if hasattr(cls, "_fields") or hasattr(cls, "n_sequence_fields"):
        return True
    if not any(hasattr(cls, name) for name in _DECLARED_FIELDS):
        return False
    is_pydantic = getattr(cls.__iter__, "__module__", "").startswith("pydantic") if hasattr(cls, "__iter__") else False
    return is_pydantic or not (hasattr(cls, "__len__") or hasattr(cls, "__getitem__"))


_DECLARED_FIELDS = ("__dataclass_fields__", "__attrs_attrs__", "__struct_fields__", "model_fields", "__fields__")


def _is_table(cls: type) -> bool:
    """Whether objects of a class are tables that are iterated by column.

    Such a class has a property ``columns``, as that of dask and PySpark, or the dataframe interchange protocol. A query
    that is iterated by rows may have a method of that name, and a worksheet has a property ``rows`` beside it.
    """
    columns = getattr_static(cls, "columns", None)
    is_property = hasattr(type(columns), "__get__") and not isinstance(columns, FunctionType)
    return (is_property and not hasattr(cls, "rows")) or hasattr(cls, "__dataframe__")
