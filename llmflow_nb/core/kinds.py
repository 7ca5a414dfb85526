"""Kinds of values, as far as copying, comparing and encoding them need to know. None of the user's code is run."""

import array
import dataclasses
import datetime
import decimal
import enum
import fractions
import pathlib
import re
import sys
import types
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any

__all__ = [
    "BUFFERS",
    "BY_NAME",
    "DICTS",
    "FIXED_TYPES",
    "LISTS",
    "copies_on_write",
    "is_array",
    "is_fixed",
    "is_numpy_scalar",
    "is_pandas",
    "is_plain",
    "is_tuple",
    "slot_fields",
]

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
FIXED_TYPES = frozenset(_FIXED)
_FIXED_FAMILIES = (
    enum.Enum,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    datetime.tzinfo,
    pathlib.PurePath,
)
BY_NAME = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType, types.MethodType)
"""These stand for themselves: they are never copied, and nobody expects them to be."""
DICTS = frozenset((dict, OrderedDict, defaultdict, Counter))
LISTS = frozenset((list, deque))
BUFFERS = frozenset((bytearray, array.array))


class _Plain:
    pass


def is_fixed(value: Any, cls: type) -> bool:
    """Whether nothing in the value, which is of this class, can be changed."""
    return cls in FIXED_TYPES or isinstance(value, _FIXED_FAMILIES) or is_numpy_scalar(value)


def is_tuple(cls: type) -> bool:
    """Whether an object of the class is a tuple, perhaps with names, and nothing else."""
    return issubclass(cls, tuple) and cls.__basicsize__ == tuple.__basicsize__


def is_plain(cls: type) -> bool:
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


def slot_fields(cls: type) -> tuple[str, ...]:
    """The fields of a dataclass that has slots and nothing else; none of any other class."""
    if cls.__dictoffset__ or not dataclasses.is_dataclass(cls) or "__slots__" not in cls.__dict__:
        return ()
    return tuple(field.name for field in dataclasses.fields(cls))


def is_pandas(value: Any) -> bool:
    """Whether it is a DataFrame, a Series or an Index."""
    pandas = sys.modules.get("pandas")  # whoever has a DataFrame has imported it
    return pandas is not None and isinstance(value, pandas.DataFrame | pandas.Series | pandas.Index)


def copies_on_write() -> bool:
    """Whether pandas copies a column only when it is written to."""
    pandas = sys.modules["pandas"]
    return int(pandas.__version__.partition(".")[0]) >= 3 or pandas.options.mode.copy_on_write is True


def is_array(value: Any) -> bool:
    """Whether it is an array of numpy's, of numbers or texts and not of objects."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and type(value) is numpy.ndarray and not value.dtype.hasobject


def is_numpy_scalar(value: Any) -> bool:
    """Whether it is a number of numpy's, or another scalar of which nothing can be changed."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.generic) and not isinstance(value, numpy.void)
