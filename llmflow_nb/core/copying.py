"""Copies of the user's values, which can be restored.

Copying runs no code of the user, except a ``__deepcopy__``, which a class has for this purpose. What cannot be copied
(a client, a lock, a socket, a generator) is kept by reference, and its type is noted.
"""

import copy
import sys
import types
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Any

from .kinds import (
    BUFFERS,
    BY_NAME,
    DICTS,
    LISTS,
    copies_on_write,
    is_array,
    is_fixed,
    is_pandas,
    is_plain,
    is_tuple,
    slot_fields,
)

__all__ = ["Copier", "has_deepcopy"]


class Copier:
    """Copies values, each object once, so that an object under two keys stays one object."""

    def __init__(self, *, whole: Any = None) -> None:
        """``whole``: an object that is never copied, such as a ``shared`` that contains itself."""
        self.size = 0  # about how many bytes the copies take
        self.by_reference: set[str] = set()  # the names of the types that were not copied
        self._done: dict[int, Any] = {id(whole): whole}
        self._held: list[Any] = [whole]  # so that no id is used for another object

    def copy(self, value: Any) -> Any:
        """Return a copy of a value, as deep as it can be changed; the value itself if it cannot be copied."""
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
            for name in ("index", "columns"):  # their names can be set in place
                if hasattr(twin, name):
                    setattr(twin, name, getattr(value, name).copy())
            for n, cells in _object_columns(value):  # pandas copies only the references in these
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
        elif has_deepcopy(cls):
            try:
                twin = self._begin(value, copy.deepcopy(value))
            except Exception:  # from the user's __deepcopy__
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
        """Copy an object attribute by attribute. It cannot be copied if an attribute cannot, as with a client."""
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


def has_deepcopy(cls: type) -> bool:
    """Whether a class has a ``__deepcopy__`` to use. That of a node would copy a whole flow."""
    return hasattr(cls, "__deepcopy__") and not hasattr(cls, "_kind")


def _object_columns(value: Any) -> Iterator[tuple[int, Any]]:
    if value.ndim == 1:
        if str(value.dtype) == "object" and hasattr(value, "index"):
            yield 0, value
    else:
        yield from ((n, value.iloc[:, n]) for n in range(value.shape[1]) if str(value.dtypes.iloc[n]) == "object")
