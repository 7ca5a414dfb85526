"""Encode values and bytecode as bytes, which are the same for equal values in every process and for every hash seed.

The bytes do not depend on an ``id``, the ``repr`` of an object or the order of a set. Each part begins with its length,
so different values never have the same bytes.
"""

import dis
import enum
import hashlib
import struct
import sys
import types
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from pathlib import PurePath
from re import Pattern
from types import CodeType
from typing import Any
from uuid import UUID

from .kinds import (
    BUFFERS,
    BY_NAME,
    DICTS,
    LISTS,
    is_array,
    is_numpy_scalar,
    is_pandas,
    is_plain,
    is_pydantic,
    is_tuple,
    slot_fields,
)

Other = Callable[[Any], bytes]
"""Encodes a value that is not data: a function, a class, a module, an object that cannot be taken apart."""


class NoKeyError(Exception):
    """A value has no key: it cannot be compared with another one. The text is its type."""


def pack(kind: str, *parts: bytes) -> bytes:
    """Join parts so that different parts never give the same bytes."""
    return b"".join([kind.encode(), b"(", *[b"%d:%b" % (len(part), part) for part in parts], b")"])


def digest(data: bytes) -> bytes:
    """Return a hash of 16 bytes."""
    return hashlib.blake2b(data, digest_size=16).digest()


def name_of(value: Any) -> bytes:
    """Return the module and the name of a class, a function or a module as bytes."""
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None) or ""
    return pack("name", str(getattr(value, "__module__", "")).encode(), str(name).encode("utf-8", "surrogatepass"))


def encode(value: Any, other: Other) -> bytes:
    """Return a value as bytes.

    Args:
        value: Any value.
        other: Encodes values that are not data, and the class of an object that is taken apart.

    Raises:
        RecursionError: The value is nested too deeply, or contains itself.
    """
    return _encode(value, other, _Known())


def encode_sized(value: Any, other: Other, plain: Other | None = None) -> tuple[bytes, int]:
    """Return the result of `encode`, and the approximate number of bytes that were read for it.

    Args:
        value: Any value.
        other: As for `encode`.
        plain: Encodes a plain object, such as one of a user's class. None: it is taken apart.

    Raises:
        RecursionError: As for `encode`.
    """
    known = _Known()
    known.plain = plain
    data = _encode(value, other, known)
    return data, known.size + len(data)


def content_of(value: Any) -> bytes:
    """Return a hash of the content of a value. An object that is not data counts by its identity."""
    try:
        return digest(encode(value, _name_or_identity))
    except RecursionError:
        return b"%d" % id(value)


def _name_or_identity(value: Any) -> bytes:
    return name_of(value) if isinstance(value, BY_NAME) else pack("object", b"%d" % id(value))


class _Known(dict[int, bytes | None]):
    """The encoded parts by id, so that shared parts are read once. None: the part is not complete yet.

    Attributes:
        size: The number of bytes of the parts.
        plain: See `encode_sized`.
    """

    size = 0
    plain: Other | None = None


def _encode(value: Any, other: Other, known: _Known) -> bytes:
    cls = type(value)
    if cls is str:  # str and int are the most common, so no call is made for them
        text = value.encode("utf-8", "surrogatepass")
        return b"str(%d:%b)" % (len(text), text)
    if cls is int:
        return b"int(%x)" % value
    scalar = _SCALARS.get(cls)
    if scalar is not None:
        return pack(cls.__name__, scalar(value))
    if isinstance(value, BY_NAME):
        return other(value)
    if isinstance(value, enum.Enum):
        return pack("enum", other(cls), value.name.encode() if value.name else b"", encode(value.value, other))
    for family, scalar in _FAMILIES:
        if isinstance(value, family):
            return pack(cls.__name__, scalar(value))
    if is_numpy_scalar(value):
        return pack("scalar", value.dtype.str.encode(), value.tobytes())
    if id(value) in known:
        found = known[id(value)]
        if found is None:
            raise RecursionError
        return found
    known[id(value)] = None
    found = _encode_parts(value, cls, other, known)
    known.size += len(found)
    known[id(value)] = found = pack("part", digest(found)) if len(found) > 64 else found
    return found


def _encode_parts(value: Any, cls: type, other: Other, known: _Known) -> bytes:
    if cls in LISTS or is_tuple(cls):
        return pack("sequence", _type(cls), *[_encode(item, other, known) for item in value])
    if cls in DICTS or cls is types.MappingProxyType:
        items = dict.items(value) if cls in DICTS else value.items()
        return pack("dict", _type(cls), *[_encode(part, other, known) for pair in items for part in pair])
    if cls is set or cls is frozenset:
        return pack(cls.__name__, *sorted(_encode(item, other, known) for item in value))
    if cls in BUFFERS:
        return pack("buffer", _type(cls), getattr(value, "typecode", "").encode(), bytes(value))
    if cls is slice:
        return pack("slice", *[_encode(part, other, known) for part in (value.start, value.stop, value.step)])
    if is_array(value):
        kind, shape = str(value.dtype.descr).encode(), str(value.shape).encode()
        known.size += value.nbytes
        return pack("array", kind, shape, hashlib.blake2b(value.tobytes()).digest())
    if is_pandas(value):
        known.size += value.size
        return _encode_pandas(value, other)
    if is_pydantic(cls):
        state = [value.__dict__, value.__pydantic_extra__, value.__pydantic_private__]
        return pack("model", other(cls), *[_encode(part, other, known) for part in state])
    fields = slot_fields(cls)
    if fields or cls is types.SimpleNamespace or is_plain(cls):
        if known.plain is not None and not fields:
            return known.plain(value)
        stored = ((name, getattr(value, name, None)) for name in fields)
        attributes = stored if fields else object.__getattribute__(value, "__dict__").items()
        parts = [_encode(part, other, known) for pair in attributes for part in pair]
        return pack("object", other(cls), *parts)
    return other(value)


def _type(cls: type) -> bytes:
    return b"" if cls.__module__ == "builtins" and cls.__qualname__ == "list" else name_of(cls)


def _encode_pandas(value: Any, other: Other) -> bytes:
    pandas = sys.modules["pandas"]
    try:
        hashed = pandas.util.hash_pandas_object(value, index=True).to_numpy()
    except Exception:  # cells that cannot be hashed
        return other(value)
    has_columns = value.ndim > 1
    names = list(value.columns) if has_columns else [value.name]
    dtypes = [str(dtype) for dtype in (value.dtypes if has_columns else [value.dtype])]
    labels = encode(names, other)
    return pack(
        "pandas", name_of(type(value)), labels, str(dtypes).encode(), hashlib.blake2b(hashed.tobytes()).digest()
    )


def _zone(zone: tzinfo | None) -> str:
    if zone is None:
        return ""
    return getattr(zone, "key", None) or (str(zone) if type(zone) is timezone else type(zone).__qualname__)


def _duration(value: timedelta) -> bytes:
    nanoseconds = getattr(value, "nanoseconds", 0)  # of pandas
    return f"{value.days} {value.seconds} {value.microseconds} {nanoseconds}".encode()


_SCALARS: dict[type, Callable[[Any], bytes]] = {
    bytes: lambda value: value,
    type(None): lambda _: b"",
    bool: lambda value: b"1" if value else b"0",
    float: lambda value: struct.pack(">d", value),
    complex: lambda value: struct.pack(">dd", value.real, value.imag),
    range: lambda value: f"{value.start:x} {value.stop:x} {value.step:x}".encode(),
    type(Ellipsis): lambda _: b"",
    type(NotImplemented): lambda _: b"",
    Decimal: lambda value: str(value.as_tuple()).encode(),
    Fraction: lambda value: f"{value.numerator:x}/{value.denominator:x}".encode(),
    UUID: lambda value: value.bytes,
}
_FAMILIES: tuple[tuple[Any, Callable[[Any], bytes]], ...] = (
    (Pattern, lambda value: f"{value.flags} {value.pattern!r}".encode("utf-8", "surrogatepass")),
    (datetime, lambda value: f"{value.isoformat()} {value.fold} {_zone(value.tzinfo)}".encode()),
    (date, lambda value: value.isoformat().encode()),
    (time, lambda value: f"{value.isoformat()} {value.fold} {_zone(value.tzinfo)}".encode()),
    (timedelta, _duration),
    (tzinfo, lambda value: _zone(value).encode()),
    (PurePath, lambda value: str(value).encode("utf-8", "surrogatepass")),
)

_FLAGS = 0x04 | 0x08 | 0x20 | 0x80 | 0x100 | 0x200
"""The flags of a code object that count: *args, **kwargs, generator, coroutine, iterable coroutine, async generator."""
_JUMPS = frozenset(dis.hasjrel) | frozenset(dis.hasjabs)
_CONSTANTS = frozenset(dis.hasconst)
_NO_STEPS = frozenset({"NOP", "CACHE", "EXTENDED_ARG"})
_ABOUT_THE_SOURCE = frozenset({"__firstlineno__", "__static_attributes__", "__doc__"})


@lru_cache(maxsize=1024)
def encode_code(code: CodeType) -> bytes:
    """Return the instructions of a code object as bytes, without docstrings, line numbers and file names.

    Constants, names and jumps are encoded by their meaning: the index of a constant depends on whether there is a
    docstring.
    """
    bytecode = dis.Bytecode(code)
    steps: list[Any] = []
    ordinals: dict[int, int] = {}
    for step in bytecode:
        ordinals[step.offset] = len(steps)
        if step.opname in _NO_STEPS:
            continue
        if step.opname == "STORE_NAME" and step.argval in _ABOUT_THE_SOURCE and steps:
            steps.pop()
            continue
        steps.append(step)
    ordinals[len(code.co_code)] = len(steps)
    parts = [_encode_step(step, ordinals) for step in steps]
    for entry in getattr(bytecode, "exception_entries", ()):
        where = [ordinals.get(offset, offset) for offset in (entry.start, entry.end, entry.target)]
        parts.append(f"{where} {entry.depth} {entry.lasti}".encode())
    parameters = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 0x04) + bool(code.co_flags & 0x08)
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & _FLAGS
    return digest(pack("code", str((counts, code.co_varnames[:parameters])).encode(), *parts))


def _encode_step(step: dis.Instruction, ordinals: dict[int, int]) -> bytes:
    name, value = step.opname.encode(), step.argval
    if step.opcode in _CONSTANTS:
        return pack("const", name, encode(value, _encode_inner_code))
    if step.opcode in _JUMPS:
        return pack("jump", name, b"%d" % ordinals.get(value, value))
    if isinstance(value, str) or (isinstance(value, tuple) and all(isinstance(part, str) for part in value)):
        return pack("name", name, str(value).encode("utf-8", "surrogatepass"))
    return pack("step", name, str(step.arg).encode())


def _encode_inner_code(value: Any) -> bytes:
    return encode_code(value) if isinstance(value, CodeType) else name_of(value)
