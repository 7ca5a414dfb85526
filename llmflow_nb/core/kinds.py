"""Classify values for copying, comparing and encoding, without running any of the user's code."""

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

from .loaded import loaded

FIXED_TYPES: frozenset[type] = frozenset(
    {
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
    }
)
"""Types of values that cannot change, so they need no copy."""
_FIXED_FAMILIES = (
    enum.Enum,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    datetime.tzinfo,
    pathlib.PurePath,
)
BY_NAME = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType, types.MethodType)
"""Types of values that are never copied, and that count by name."""
DICTS = frozenset((dict, OrderedDict, defaultdict, Counter))
LISTS = frozenset((list, deque))
BUFFERS = frozenset((bytearray, array.array))


class _Plain:
    pass


def is_fixed(value: Any, cls: type) -> bool:
    """Return whether a value, which is of this class, cannot change."""
    return cls in FIXED_TYPES or isinstance(value, _FIXED_FAMILIES) or is_numpy_scalar(value)


def is_tuple(cls: type) -> bool:
    """Return whether an object of the class is only a tuple or a named tuple."""
    return issubclass(cls, tuple) and cls.__basicsize__ == tuple.__basicsize__


def is_plain(cls: type) -> bool:
    """Return whether an object of the class consists of its ``__dict__``."""
    return (
        cls.__basicsize__ == _Plain.__basicsize__
        and cls.__dictoffset__ != 0
        and not hasattr(cls, "_kind")  # a node: it is never taken apart
        and not hasattr(cls, "__deepcopy__")
        and not hasattr(cls, "__copy__")
        and not hasattr(cls, "__del__")
        and getattr(cls, "__reduce_ex__", None) is object.__reduce_ex__
        and getattr(cls, "__reduce__", None) is object.__reduce__
        and getattr(cls, "__getstate__", None) is getattr(object, "__getstate__", None)
    )


def slot_fields(cls: type) -> tuple[str, ...]:
    """Return the fields of a dataclass or an attrs class that consists of slots; none for any other class."""
    if cls.__dictoffset__ or "__slots__" not in cls.__dict__:
        return ()
    if dataclasses.is_dataclass(cls):
        return tuple(field.name for field in dataclasses.fields(cls))
    return tuple(field.name for field in getattr(cls, "__attrs_attrs__", ()))


def is_pydantic(cls: type) -> bool:
    """Return whether a class is a model of pydantic."""
    pydantic = loaded("pydantic", "BaseModel")
    return pydantic is not None and issubclass(cls, pydantic.BaseModel)


def is_pandas(value: Any) -> bool:
    """Return whether a value is a DataFrame, a Series or an Index."""
    pandas = loaded("pandas", "DataFrame")  # without it there is no DataFrame
    return pandas is not None and isinstance(value, pandas.DataFrame | pandas.Series | pandas.Index)


def copies_on_write() -> bool:
    """Return whether pandas copies a column only when it is written to."""
    pandas = sys.modules["pandas"]
    return int(pandas.__version__.partition(".")[0]) >= 3 or pandas.options.mode.copy_on_write is True


def is_array(value: Any) -> bool:
    """Return whether a value is a numpy array that contains no Python objects."""
    numpy = loaded("numpy", "ndarray")
    return numpy is not None and type(value) is numpy.ndarray and not value.dtype.hasobject


def is_object_array(value: Any) -> bool:
    """Return whether a value is a numpy array that contains Python objects."""
    numpy = loaded("numpy", "ndarray")
    return numpy is not None and type(value) is numpy.ndarray and value.dtype.hasobject


def is_numpy_scalar(value: Any) -> bool:
    """Return whether a value is a numpy scalar that cannot change."""
    numpy = loaded("numpy", "ndarray")
    return numpy is not None and isinstance(value, numpy.generic) and not isinstance(value, numpy.void)
