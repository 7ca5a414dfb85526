"""Whether a value is still what its copy says, by the same rules by which it was copied."""

import operator
import types
from collections import Counter
from typing import Any

from ..core.copying import has_deepcopy
from ..core.kinds import (
    BUFFERS,
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

__all__ = ["same"]


def same(now: Any, then: Any) -> bool:
    """Return whether a value equals an earlier copy of it: the same types, and equal parts in the same order."""
    try:
        return _same(now, then, set())
    except RecursionError:
        return False


def _same(now: Any, then: Any, seen: set[tuple[int, int]]) -> bool:
    if now is then:  # it cannot change, or it could not be copied
        return True
    cls = type(now)
    if cls is not type(then):
        return False
    if is_fixed(now, cls):
        return bool(now == then) or (now != now and then != then)
    pair = id(now), id(then)
    if pair in seen:
        return True
    if cls in LISTS or is_tuple(cls):
        if len(now) == len(then) and all(map(operator.is_, now, then)):
            return True  # fast for many texts or numbers
        seen.add(pair)
        return len(now) == len(then) and all(a is b or _same(a, b, seen) for a, b in zip(now, then, strict=True))
    if cls in DICTS:
        seen.add(pair)
        return len(now) == len(then) and all(
            (a is b or _same(a, b, seen)) and (x is y or _same(x, y, seen))
            for (a, x), (b, y) in zip(now.items(), then.items(), strict=True)
        )
    if cls is set or cls is frozenset:
        return bool(now == then) and Counter(map(type, now)) == Counter(map(type, then))
    if cls in BUFFERS:
        return bool(now == then)
    if is_array(now):
        if now.dtype != then.dtype or now.shape != then.shape:
            return False
        if now.flags.c_contiguous and then.flags.c_contiguous:
            words = "u8" if now.nbytes % 8 == 0 else "u1"  # bits, since NaN does not equal itself
            return bool((now.reshape(-1).view(words) == then.reshape(-1).view(words)).all())
        return bool(now.tobytes() == then.tobytes())
    if is_pandas(now):
        return _same_pandas(now, then)
    if cls is types.SimpleNamespace:
        return _same(now.__dict__, then.__dict__, seen)
    if slot_fields(cls):
        seen.add(pair)
        return all(_same(getattr(now, name, None), getattr(then, name, None), seen) for name in slot_fields(cls))
    if is_plain(cls):
        seen.add(pair)
        return _same(object.__getattribute__(now, "__dict__"), object.__getattribute__(then, "__dict__"), seen)
    if has_deepcopy(cls):
        try:
            return (now == then) is True
        except Exception:  # from the user's __eq__: assume a change
            return False
    return False


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
    """Whether two columns use the same memory. pandas separates them as soon as one of them is written to."""
    if not copies_on_write():
        return False
    first, second = (getattr(column, "_values", None) for column in (a, b))
    if first is None or second is None:
        return False
    if not (is_array(first) and is_array(second)):
        return False
    return bool(first.__array_interface__["data"] == second.__array_interface__["data"] and first.shape == second.shape)
