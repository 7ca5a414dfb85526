"""Copies of the user's values that can be gone back to, whether a value is still what it was, and keys made of values.

No code of the user's is run for it, but for a ``__deepcopy__`` that a class was given for this very purpose. What
cannot be copied (a client, a lock, a socket, a generator) is kept by reference, and its type is noted.
"""

import array
import copy
import dataclasses
import datetime
import decimal
import enum
import fractions
import hashlib
import operator
import pathlib
import re
import sys
import types
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from typing import Any

__all__ = ["Copier", "NoKeyError", "key_of", "same"]

# Nothing in them can be changed, so there is nothing to copy.
_FIXED = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    range,
    slice,
    type(Ellipsis),
    type(NotImplemented),
    decimal.Decimal,
    fractions.Fraction,
    uuid.UUID,
    re.Pattern,
)
_FIXED_SET = frozenset(_FIXED)
_FIXED_FAMILIES = (
    enum.Enum,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    datetime.tzinfo,
    pathlib.PurePath,
)
_BY_NAME = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType, types.MethodType)
"""These stand for themselves: they are never copied, and nobody expects them to be."""
_DICTS = frozenset((dict, OrderedDict, defaultdict, Counter))
_LISTS = frozenset((list, deque))
_BUFFERS = frozenset((bytearray, array.array))


class _Plain:
    pass


def _is_fixed(value: Any, cls: type) -> bool:
    return cls in _FIXED_SET or isinstance(value, _FIXED_FAMILIES) or _numpy_scalar(value)


def _is_tuple(cls: type) -> bool:
    return issubclass(cls, tuple) and cls.__basicsize__ == tuple.__basicsize__


def _is_plain(cls: type) -> bool:
    """Whether an object of the class is its ``__dict__`` and nothing else."""
    return (
        cls.__basicsize__ == _Plain.__basicsize__
        and cls.__dictoffset__ != 0
        and not hasattr(cls, "_kind")  # a node: it stands for itself
        and not hasattr(cls, "__deepcopy__")
        and not hasattr(cls, "__copy__")
        and not hasattr(cls, "__del__")
        and getattr(cls, "__reduce_ex__", None) is object.__reduce_ex__
        and getattr(cls, "__reduce__", None) is object.__reduce__
        and getattr(cls, "__getstate__", None) is getattr(object, "__getstate__", None)
    )


def _slots(cls: type) -> tuple[str, ...]:
    """The fields of a dataclass that has slots and nothing else; none of any other class."""
    if cls.__dictoffset__ or not dataclasses.is_dataclass(cls) or "__slots__" not in cls.__dict__:
        return ()
    return tuple(field.name for field in dataclasses.fields(cls))


def _pandas(value: Any) -> bool:
    pandas = sys.modules.get("pandas")  # whoever has a DataFrame has imported it
    return pandas is not None and isinstance(value, pandas.DataFrame | pandas.Series | pandas.Index)


def _copies_on_write() -> bool:
    pandas = sys.modules["pandas"]
    return int(pandas.__version__.partition(".")[0]) >= 3 or pandas.options.mode.copy_on_write is True


def _numpy(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and type(value) is numpy.ndarray and not value.dtype.hasobject


def _numpy_scalar(value: Any) -> bool:
    """Whether it is a number of numpy's, or another scalar of which nothing can be changed."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.generic) and not isinstance(value, numpy.void)


class Copier:
    """Copies values, each object once, so that what is shared between them stays shared.

    Attributes:
        size: About how many bytes the copies take.
        by_reference: The names of the types of which there is no copy.
    """

    def __init__(self, *, whole: Any = None) -> None:
        """``whole``: stands for itself, also within a value, as ``shared`` does that holds itself."""
        self.size = 0
        self.by_reference: set[str] = set()
        self._done: dict[int, Any] = {id(whole): whole}
        self._held: list[Any] = [whole]  # so that no id comes to mean another object

    def copy(self, value: Any) -> Any:
        """Return a copy of a value, as deep as it can be changed; the value itself where there is none."""
        try:
            return self._copy(value)
        except RecursionError:
            return self._reference(value)

    def _copy(self, value: Any) -> Any:
        cls = type(value)
        if _is_fixed(value, cls) or isinstance(value, _BY_NAME):
            return value
        if id(value) in self._done:
            return self._done[id(value)]
        if cls in _LISTS:
            twin: Any = self._begin(value, [] if cls is list else deque(maxlen=value.maxlen))
            twin.extend([self._copy(item) for item in value])
        elif cls in _DICTS:
            twin = self._begin(value, defaultdict(value.default_factory) if cls is defaultdict else cls())
            for key, item in value.items():
                twin[self._copy(key)] = self._copy(item)
        elif cls is set or cls is frozenset:
            twin = self._begin(value, cls(map(self._copy, value)))
        elif _is_tuple(cls):
            items = [self._copy(item) for item in value]
            is_same = all(new is old for new, old in zip(items, value, strict=True))
            twin = value if is_same else self._begin(value, tuple.__new__(cls, items))
        elif cls in _BUFFERS:
            twin = self._begin(value, value[:])
        elif _numpy(value):
            twin = self._begin(value, value.copy())
            self.size += value.nbytes
        elif _pandas(value):
            lazily = _copies_on_write()
            twin = self._begin(value, value.copy(deep=not lazily))
            for name in ("index", "columns"):  # whose names can be set in place
                if hasattr(twin, name):
                    setattr(twin, name, getattr(value, name).copy())
            for n, cells in _object_columns(value):  # of which pandas copies no more than the references
                copies = [self._copy(cell) for cell in cells]
                if any(new is not old for new, old in zip(copies, cells, strict=True)):
                    column = sys.modules["pandas"].Series(copies, index=twin.index, dtype=object, name=cells.name)
                    if value.ndim > 1:
                        twin.isetitem(n, column)
                    else:
                        twin = self._done[id(value)] = column
            self.size += 0 if lazily else int(value.memory_usage(index=True).sum() if value.ndim > 1 else value.nbytes)
        elif cls is types.SimpleNamespace:
            twin = self._begin(value, types.SimpleNamespace())
            twin.__dict__.update({name: self._copy(item) for name, item in value.__dict__.items()})
        elif _slots(cls):
            twin = self._begin(value, object.__new__(cls))
            for name in _slots(cls):
                if hasattr(value, name):
                    object.__setattr__(twin, name, self._copy(object.__getattribute__(value, name)))
        elif hasattr(cls, "__deepcopy__"):
            try:
                twin = self._begin(value, copy.deepcopy(value))
            except Exception:  # of the user's, for whatever reason
                return self._reference(value)
        elif _is_plain(cls):
            twin = self._plain(value, cls)
        else:
            return self._reference(value)
        return twin

    def _begin(self, value: Any, twin: Any) -> Any:
        self.size += sys.getsizeof(value) if type(value).__module__ in ("builtins", "collections") else 64
        self._done[id(value)] = twin
        self._held.append(value)
        return twin

    def _plain(self, value: Any, cls: type) -> Any:
        """An object of which an attribute has no copy has none either: a client is one with its lock."""
        before = set(self.by_reference)
        twin = self._begin(value, object.__new__(cls))
        self.by_reference = set()
        attributes = {name: self._copy(item) for name, item in object.__getattribute__(value, "__dict__").items()}
        inside, self.by_reference = self.by_reference, before | self.by_reference
        if inside:
            self.by_reference = before
            self._done[id(value)] = value
            return self._reference(value)
        twin.__dict__.update(attributes)
        return twin

    def _reference(self, value: Any) -> Any:
        self.by_reference.add(type(value).__name__)
        return value


def same(now: Any, then: Any) -> bool:
    """Return whether a value is still what its copy says: of the same types, with equal parts in the same order."""
    try:
        return _same(now, then, set())
    except RecursionError:
        return False


def _same(now: Any, then: Any, seen: set[tuple[int, int]]) -> bool:
    cls = type(now)
    if now is then and (_is_fixed(now, cls) or isinstance(now, _BY_NAME)):
        return True
    if cls is not type(then):
        return False
    if _is_fixed(now, cls):
        return bool(now == then) or (now != now and then != then)
    pair = id(now), id(then)
    if pair in seen:
        return True
    if cls in _LISTS or _is_tuple(cls):
        if len(now) == len(then) and all(map(operator.is_, now, then)):
            return True  # of what can be changed, the copy holds others
        seen.add(pair)
        return len(now) == len(then) and all(
            (a is b and type(a) in _FIXED_SET) or _same(a, b, seen) for a, b in zip(now, then, strict=False)
        )
    if cls in _DICTS:
        seen.add(pair)
        return len(now) == len(then) and all(
            (a is b or _same(a, b, seen)) and ((x is y and type(x) in _FIXED_SET) or _same(x, y, seen))
            for (a, x), (b, y) in zip(now.items(), then.items(), strict=False)
        )
    if cls is set or cls is frozenset:
        return bool(now == then) and Counter(map(type, now)) == Counter(map(type, then))
    if cls in _BUFFERS:
        return bool(now == then)
    if _numpy(now):
        if now.dtype != then.dtype or now.shape != then.shape:
            return False
        if now.flags.c_contiguous and then.flags.c_contiguous:
            words = "u8" if now.nbytes % 8 == 0 else "u1"  # bits, for NaN is not even itself
            return bool((now.reshape(-1).view(words) == then.reshape(-1).view(words)).all())
        return bool(now.tobytes() == then.tobytes())
    if _pandas(now):
        return _same_pandas(now, then)
    if now is then:
        return True
    if cls is types.SimpleNamespace:
        return _same(now.__dict__, then.__dict__, seen)
    if _slots(cls):
        seen.add(pair)
        return all(_same(getattr(now, name, None), getattr(then, name, None), seen) for name in _slots(cls))
    if _is_plain(cls):
        seen.add(pair)
        return _same(object.__getattribute__(now, "__dict__"), object.__getattribute__(then, "__dict__"), seen)
    if hasattr(cls, "__deepcopy__"):
        try:
            return (now == then) is True
        except Exception:  # of the user's: then it has changed, for all that can be told
            return False
    return False


def _object_columns(value: Any) -> Iterator[tuple[int, Any]]:
    if value.ndim == 1:
        if str(value.dtype) == "object" and hasattr(value, "index"):
            yield 0, value
    else:
        yield from ((n, value.iloc[:, n]) for n in range(value.shape[1]) if str(value.dtypes.iloc[n]) == "object")


def _same_pandas(now: Any, then: Any) -> bool:
    if now.ndim == 1:
        columns = [(now, then)]
    else:
        if now.shape != then.shape or not now.columns.equals(then.columns):
            return False
        columns = [(now.iloc[:, n], then.iloc[:, n]) for n in range(now.shape[1])]
    for name in ("index", "columns"):
        labels, kept = getattr(now, name, None), getattr(then, name, None)
        if labels is not None and not (labels.equals(kept) and list(labels.names) == list(getattr(kept, "names", ()))):
            return False
    if getattr(now, "attrs", None) != getattr(then, "attrs", None):
        return False
    for a, b in columns:
        if a.dtype != b.dtype or a.name != b.name:
            return False
        if str(a.dtype) == "object":
            if not all(_same(x, y, set()) for x, y in zip(a, b, strict=True)):
                return False
        elif not (_shares_memory(a, b) or a.equals(b)):
            return False
    return True


def _shares_memory(a: Any, b: Any) -> bool:
    """Whether two columns are the same memory, which pandas keeps apart as soon as one of them is written to."""
    if not _copies_on_write():
        return False
    first, second = (getattr(column, "_values", None) for column in (a, b))
    if first is None or second is None:
        return False
    if not (_numpy(first) and _numpy(second)):
        return False
    return bool(first.__array_interface__["data"] == second.__array_interface__["data"] and first.shape == second.shape)


class NoKeyError(Exception):
    """Of this value there is no key: it cannot be told whether another one is the same. Names its type."""


def key_of(value: Any, *, loosely: bool = False) -> Any:
    """Return something hashable that is equal for equal values of the same types, and for no others.

    Args:
        value: Containers, plain objects, frames and arrays are taken apart.
        loosely: What has no key stands for itself, by its identity.

    Raises:
        NoKeyError: There is none.
    """
    try:
        return _key_of(value, loosely, set())
    except RecursionError:
        raise NoKeyError("a value that is nested too deeply") from None


def _key_of(value: Any, loosely: bool, around: set[int]) -> Any:
    cls = type(value)
    if cls is str or cls is int or cls is bytes or value is None:
        return value if cls is not int else (int, value)
    if cls is float:
        return cls, repr(value)
    if _numpy_scalar(value):
        return "scalar", value.dtype.str, value.tobytes()  # bytes, for NaN is not even itself
    if _is_fixed(value, cls):
        return cls, value if getattr(value, "__hash__", None) else repr(value)
    if isinstance(value, _BY_NAME):
        return "name", getattr(value, "__module__", ""), getattr(value, "__qualname__", getattr(value, "__name__", ""))
    if id(value) in around:
        raise RecursionError
    around = around | {id(value)}
    if cls in _LISTS or _is_tuple(cls):
        return cls, tuple(_key_of(item, loosely, around) for item in value)
    if cls in _DICTS:
        return cls, tuple((_key_of(k, loosely, around), _key_of(v, loosely, around)) for k, v in dict.items(value))
    if cls is set or cls is frozenset:
        return cls, frozenset(_key_of(item, loosely, around) for item in value)
    if cls in _BUFFERS:
        return cls, bytes(value)
    if _numpy(value):
        return "array", value.dtype.str, value.shape, hashlib.blake2b(value.tobytes()).digest()
    if _pandas(value):
        return _key_of_pandas(value)
    if cls is types.SimpleNamespace or _slots(cls):
        names = _slots(cls) or tuple(value.__dict__)
        parts = {name: getattr(value, name, None) for name in names}
        return "object", cls.__module__, cls.__qualname__, _key_of(parts, loosely, around)
    if _is_plain(cls):
        attributes = object.__getattribute__(value, "__dict__")
        return "object", cls.__module__, cls.__qualname__, _key_of(attributes, loosely, around)
    if loosely:
        return "itself", cls, id(value)
    raise NoKeyError(cls.__name__)


def _key_of_pandas(value: Any) -> Any:
    pandas = sys.modules["pandas"]
    try:
        hashed = pandas.util.hash_pandas_object(value, index=True).to_numpy()
    except Exception:  # cells that cannot be hashed
        raise NoKeyError(type(value).__name__) from None
    names = tuple(map(repr, value.columns)) if value.ndim > 1 else (repr(value.name),)
    dtypes = tuple(map(str, value.dtypes)) if value.ndim > 1 else (str(value.dtype),)
    return type(value).__name__, names, dtypes, hashlib.blake2b(hashed.tobytes()).digest()
