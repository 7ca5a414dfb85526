"""Copies of the user's values that can be gone back to, and whether a value is still what it was.

No code of the user's is run for it, but for a ``__deepcopy__`` that a class was given for this very purpose. What
cannot be copied (a client, a lock, a socket, a generator) is kept by reference, and its type is noted.
"""

import copy
import operator
import sys
import types
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from typing import Any

from ..core.kinds import (
    BUFFERS,
    BY_NAME,
    DICTS,
    FIXED_TYPES,
    LISTS,
    copies_on_write,
    is_array,
    is_fixed,
    is_pandas,
    is_plain,
    is_tuple,
    slot_fields,
)

__all__ = ["Copier", "same"]


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
        if is_fixed(value, cls) or isinstance(value, BY_NAME):
            return value
        if id(value) in self._done:
            return self._done[id(value)]
        if cls in LISTS:
            twin: Any = self._begin(value, [] if cls is list else deque(maxlen=value.maxlen))
            twin.extend([self._copy(item) for item in value])
        elif cls in DICTS:
            twin = self._begin(value, defaultdict(value.default_factory) if cls is defaultdict else cls())
            for key, item in value.items():
                twin[self._copy(key)] = self._copy(item)
        elif cls is set or cls is frozenset:
            twin = self._begin(value, cls(map(self._copy, value)))
        elif is_tuple(cls):
            items = [self._copy(item) for item in value]
            is_same = all(new is old for new, old in zip(items, value, strict=True))
            twin = value if is_same else self._begin(value, tuple.__new__(cls, items))
        elif cls in BUFFERS:
            twin = self._begin(value, value[:])
        elif is_array(value):
            twin = self._begin(value, value.copy())
            self.size += value.nbytes
        elif is_pandas(value):
            lazily = copies_on_write()
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
        elif slot_fields(cls):
            twin = self._begin(value, object.__new__(cls))
            for name in slot_fields(cls):
                if hasattr(value, name):
                    object.__setattr__(twin, name, self._copy(object.__getattribute__(value, name)))
        elif _has_deepcopy(cls):
            try:
                twin = self._begin(value, copy.deepcopy(value))
            except Exception:  # of the user's, for whatever reason
                return self._reference(value)
        elif is_plain(cls):
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
    if now is then and (is_fixed(now, cls) or isinstance(now, BY_NAME)):
        return True
    if cls is not type(then):
        return False
    if is_fixed(now, cls):
        return bool(now == then) or (now != now and then != then)
    pair = id(now), id(then)
    if pair in seen:
        return True
    if cls in LISTS or is_tuple(cls):
        if len(now) == len(then) and all(map(operator.is_, now, then)):
            return True  # of what can be changed, the copy holds others
        seen.add(pair)
        return len(now) == len(then) and all(
            (a is b and type(a) in FIXED_TYPES) or _same(a, b, seen) for a, b in zip(now, then, strict=False)
        )
    if cls in DICTS:
        seen.add(pair)
        return len(now) == len(then) and all(
            (a is b or _same(a, b, seen)) and ((x is y and type(x) in FIXED_TYPES) or _same(x, y, seen))
            for (a, x), (b, y) in zip(now.items(), then.items(), strict=False)
        )
    if cls is set or cls is frozenset:
        return bool(now == then) and Counter(map(type, now)) == Counter(map(type, then))
    if cls in BUFFERS:
        return bool(now == then)
    if is_array(now):
        if now.dtype != then.dtype or now.shape != then.shape:
            return False
        if now.flags.c_contiguous and then.flags.c_contiguous:
            words = "u8" if now.nbytes % 8 == 0 else "u1"  # bits, for NaN is not even itself
            return bool((now.reshape(-1).view(words) == then.reshape(-1).view(words)).all())
        return bool(now.tobytes() == then.tobytes())
    if is_pandas(now):
        return _same_pandas(now, then)
    if now is then:
        return True
    if cls is types.SimpleNamespace:
        return _same(now.__dict__, then.__dict__, seen)
    if slot_fields(cls):
        seen.add(pair)
        return all(_same(getattr(now, name, None), getattr(then, name, None), seen) for name in slot_fields(cls))
    if is_plain(cls):
        seen.add(pair)
        return _same(object.__getattribute__(now, "__dict__"), object.__getattribute__(then, "__dict__"), seen)
    if _has_deepcopy(cls):
        try:
            return (now == then) is True
        except Exception:  # of the user's: then it has changed, for all that can be told
            return False
    return False


def _has_deepcopy(cls: type) -> bool:
    """Whether a class was given a ``__deepcopy__``. That of a node would copy a whole flow."""
    return hasattr(cls, "__deepcopy__") and not hasattr(cls, "_kind")


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
    if not copies_on_write():
        return False
    first, second = (getattr(column, "_values", None) for column in (a, b))
    if first is None or second is None:
        return False
    if not (is_array(first) and is_array(second)):
        return False
    return bool(first.__array_interface__["data"] == second.__array_interface__["data"] and first.shape == second.shape)
