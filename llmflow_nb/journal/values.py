"""Values as text: JSON, in which a tag names each value that JSON does not have.

``(1, {"a"})`` is written as ``{"$": "tuple", "v": [1, {"$": "set", "v": ["a"]}]}``. Each value comes back equal and of
the same type, or it is refused. Objects of the user's classes come back too: records (data classes, named tuples,
enums, models of pydantic, classes of attrs) and plain objects.

A text may come from anybody, so reading it runs no code of its choice: the classes are given by the reader, no module
is imported by a name in it, no ``__init__`` and no pickle runs.
"""

import base64
import dataclasses
import enum
import json
import re
import struct
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

from ..core.kinds import is_array, is_numpy_scalar, is_pandas, is_plain, is_pydantic, is_tuple, slot_fields
from . import arrays
from .classes import Classes, name_of_class
from .errors import RefusedError, UnreadableError, described
from .simple import READ_SIMPLE, SIMPLE, b64

__all__ = ["MAX_BYTES", "from_text", "to_text"]

MAX_BYTES = 64_000_000
"""The largest text of one value."""

TAG = "$"
_LARGE = 1_000_000
"""Of a value with more characters and parts, each part is counted as it is written."""

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False)


def to_text(value: Any) -> str:
    """Return a value as text.

    Raises:
        RefusedError: It contains something that cannot be written, it contains itself, or it is too large.
    """
    if _needs_no_tags(value):
        text = _ENCODER.encode(value)
        if _is_unicode(text):
            return text
    try:
        text = _ENCODER.encode(_Writer().write(value))
    except RecursionError:
        raise RefusedError("it is nested too deeply, or contains itself") from None
    if len(text) > MAX_BYTES:
        raise _too_large()
    return text


def from_text(text: str, classes: Classes) -> Any:
    """Return the value that a text was written from.

    Args:
        text: A result of `to_text`, or anything else.
        classes: The classes that the objects in it may have.

    Raises:
        UnreadableError: It is no such text, or the class of an object in it is missing or has other fields now.
    """
    try:
        return _Reader(classes).read(json.loads(text))
    except RecursionError:
        raise UnreadableError("it is nested too deeply") from None
    except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError, re.error) as exc:
        raise UnreadableError(f"it is damaged ({type(exc).__name__})") from None


def _needs_no_tags(value: Any) -> bool:
    """Return whether JSON has all parts of a value. False too if it is large, deep, or contains itself.

    Most results are such values. They are written without a copy of each part, which takes a third of the time for a
    list of numbers.
    """
    level, size = [value], 0
    for _ in range(50):
        inner: list[Any] = []
        for part in level:
            cls = type(part)
            if cls is str:
                size += len(part)
            elif cls is float:
                if part - part != 0:  # infinite, or not a number
                    return False
            elif cls is int:
                if not -_BIG < part < _BIG:
                    return False
            elif cls is list:
                inner += part
            elif cls is dict:
                if TAG in part or not all(type(key) is str for key in part):
                    return False
                inner += part
                inner += part.values()
            elif part is not None and cls is not bool:
                return False
        size += len(level)
        if not inner or size + len(inner) > _LARGE:
            return size + len(inner) <= _LARGE
        level = inner
    return False


def _too_large() -> RefusedError:
    return RefusedError(
        f"it is larger than {MAX_BYTES // 1_000_000} MB; save it to a file in exec, and return the file's path"
    )


# ---- containers: by type, their tag, and how the list of their parts is read -----------------------------------------

_LISTS: dict[type, tuple[str, Callable[[list[Any]], Any]]] = {
    tuple: ("tuple", tuple),
    set: ("set", set),
    frozenset: ("frozenset", frozenset),
}
_READ_LISTS = dict(_LISTS.values())
_DICTS: dict[type, tuple[str, Callable[[list[Any]], Any]]] = {
    dict: ("dict", dict),
    OrderedDict: ("OrderedDict", OrderedDict),
    Counter: ("Counter", lambda pairs: Counter(dict(pairs))),
}
_READ_DICTS = dict(_DICTS.values())
_FACTORIES: dict[str, Any] = {
    cls.__name__: cls for cls in (list, dict, set, frozenset, tuple, str, bytes, int, float, bool, deque, Counter)
}
_BIG = 2**53
"""From here on, integers are tagged: other readers of JSON would round them."""


class _Writer:
    """Turns values into what `json` can write."""

    def __init__(self) -> None:
        self._size = 0  # about the bytes so far: a value that refers to one object many times may grow without end

    def write(self, value: Any) -> Any:
        cls = type(value)
        if cls is str:
            self._count(len(value))
            return value if _is_unicode(value) else self._tagged("str", b64(value.encode("utf-8", "surrogatepass")))
        if value is None or cls is bool:
            return value
        if cls is int:
            self._count(8)
            return value if -_BIG < value < _BIG else self._tagged("int", hex(value))
        if cls is float:
            self._count(8)
            return value if value - value == 0 else self._tagged("float", struct.pack(">d", value).hex())
        self._count(16)
        if cls is list:
            return [self.write(part) for part in value]
        if cls is dict and all(type(key) is str and key != TAG and _is_unicode(key) for key in value):
            self._count(sum(map(len, value)))
            return {key: self.write(part) for key, part in value.items()}
        return self._write_other(value, cls)

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > MAX_BYTES:
            raise _too_large()

    def _tagged(self, tag: str, found: Any, **more: Any) -> Any:
        if type(found) is str:
            self._count(len(found))
        return {TAG: tag, **more, "v": found}

    def _write_other(self, value: Any, cls: type) -> Any:
        if cls in SIMPLE:
            tag, convert, _ = SIMPLE[cls]
            return self._tagged(tag, self.write(convert(value)))
        if cls in _LISTS:
            parts = [self.write(part) for part in value]
            return self._tagged(_LISTS[cls][0], parts if cls is tuple else sorted(parts, key=_in_order))
        if cls in _DICTS:
            return self._tagged(_DICTS[cls][0], self._pairs(value))
        if cls is defaultdict:
            return self._tagged("defaultdict", self._pairs(value), of=_factory_name(value.default_factory))
        if cls is deque:
            return self._tagged("deque", [self.write(part) for part in value], max=value.maxlen)
        if is_array(value) or is_numpy_scalar(value):
            return self._tagged("numpy" if is_array(value) else "numpy scalar", b64(arrays.array_to_bytes(value)))
        if is_pandas(value):
            return self._tagged("frame", b64(arrays.frame_to_bytes(value)))
        if cls is types.SimpleNamespace:
            return self._tagged("namespace", self._pairs(vars(value)))
        return self._write_object(value, cls)

    def _pairs(self, value: Any) -> list[Any]:
        return [[self.write(key), self.write(part)] for key, part in value.items()]

    def _write_object(self, value: Any, cls: type) -> Any:
        """Write an object of a user's class by its content, and the name of the class."""
        name = name_of_class(cls)
        if isinstance(value, enum.Enum):
            is_member = value.name in type(value).__members__  # not a combination of flags
            found = value.name if is_member else value.value
            return self._tagged("enum", self.write(found), of=name, named=is_member)
        if is_tuple(cls):
            return self._tagged("namedtuple", [self.write(part) for part in value], of=name)
        content = content_of(value, cls)
        if content is None:
            raise RefusedError(_advice(value))
        return self._tagged(
            "object", {key: self.write(part) for key, part in content.items()}, of=name, fields=_fields(cls)
        )


_OF_PYDANTIC = ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")


def _fields(cls: Any) -> list[str]:
    """Return the names of the fields of a record, by which an edit of its class is noticed."""
    if is_pydantic(cls):
        return list(cls.model_fields)
    if dataclasses.is_dataclass(cls):
        return [field.name for field in dataclasses.fields(cls)]
    return [field.name for field in getattr(cls, "__attrs_attrs__", ())]


def content_of(value: Any, cls: type) -> dict[str, Any] | None:
    """Return what a record or a plain object consists of; None if that is unknown."""
    if is_pydantic(cls):
        return {name: getattr(value, name) for name in _OF_PYDANTIC}
    names = slot_fields(cls)
    if names:
        return {name: getattr(value, name) for name in names if hasattr(value, name)}
    return dict(object.__getattribute__(value, "__dict__")) if is_plain(cls) else None


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a character, of which JSON might join two
        return False
    return True


def _in_order(written: Any) -> str:
    return json.dumps(written, sort_keys=True)


def _factory_name(factory: Any) -> str | None:
    if factory is None:
        return None
    name = getattr(factory, "__name__", "")
    if _FACTORIES.get(name) is not factory:
        raise RefusedError(
            "a defaultdict with a function of yours cannot be written; return dict(...) of it, or give it a type "
            "such as list"
        )
    return str(name)


def _advice(value: Any) -> str:
    if isinstance(value, BaseException):
        return f"{described(value)} cannot be written; return its text"
    if hasattr(type(value), "__next__"):
        return f"{described(value)} cannot be written; return list(...) of it"
    return f"{described(value)} cannot be written; return its data, such as a dict or a dataclass"


# ---- reading ---------------------------------------------------------------------------------------------------------


class _Reader:
    """Turns what `json` has read into values."""

    def __init__(self, classes: Classes) -> None:
        self._classes = classes

    def read(self, found: Any) -> Any:
        if type(found) is list:
            return [self.read(part) for part in found]
        if type(found) is not dict:
            return found
        if TAG not in found:
            return {key: self.read(part) for key, part in found.items()}
        return self._read_tagged(found[TAG], found["v"], found)

    def _read_tagged(self, tag: Any, found: Any, whole: dict[str, Any]) -> Any:
        if tag in READ_SIMPLE:
            return READ_SIMPLE[tag](self.read(found))
        if tag in _READ_LISTS:
            return _READ_LISTS[tag](self._parts(found))
        if tag in _READ_DICTS:
            return _READ_DICTS[tag](self._read_pairs(found))
        read = _READ_TAGGED.get(tag)
        if read is None:
            raise UnreadableError(f"it has the unknown tag {str(tag)[:40]!r}")
        return read(self, found, whole)

    def _parts(self, found: Any) -> list[Any]:
        if type(found) is not list:
            raise TypeError
        return [self.read(part) for part in found]

    def _read_pairs(self, found: Any) -> list[Any]:
        return [(self.read(key), self.read(part)) for key, part in found]

    def _read_defaultdict(self, found: Any, whole: dict[str, Any]) -> Any:
        of = whole["of"]
        return defaultdict(None if of is None else _FACTORIES[of], self._read_pairs(found))

    def _read_deque(self, found: Any, whole: dict[str, Any]) -> Any:
        return deque(self._parts(found), whole["max"])

    def _read_namespace(self, found: Any, whole: dict[str, Any]) -> Any:
        return types.SimpleNamespace(**dict(self._read_pairs(found)))

    def _read_enum(self, found: Any, whole: dict[str, Any]) -> Any:
        cls: Any = self._class(whole, lambda cls: issubclass(cls, enum.Enum))
        return cls.__members__[self.read(found)] if whole["named"] else cls(self.read(found))

    def _read_namedtuple(self, found: Any, whole: dict[str, Any]) -> Any:
        cls: Any = self._class(whole, lambda cls: is_tuple(cls) and hasattr(cls, "_fields"))
        parts = self._parts(found)
        if len(cls._fields) != len(parts):
            raise self._other_fields(cls)
        return tuple.__new__(cls, parts)

    def _read_object(self, found: Any, whole: dict[str, Any]) -> Any:
        cls = self._class(whole, lambda cls: bool(is_pydantic(cls) or slot_fields(cls) or is_plain(cls)))
        content = {key: self.read(part) for key, part in found.items()}
        value: Any = object.__new__(cls)
        if whole["fields"] != _fields(cls):
            raise self._other_fields(cls)
        if is_pydantic(cls):
            for name in _OF_PYDANTIC:
                object.__setattr__(value, name, content[name])
        elif slot_fields(cls):
            for name, part in content.items():
                object.__setattr__(value, name, part)
        else:
            object.__getattribute__(value, "__dict__").update(content)
        return value

    def _class(self, whole: dict[str, Any], is_allowed: Callable[[type], bool]) -> type:
        name = whole["of"]
        cls = self._classes.find(name)
        if cls is None:
            short = str(name).rpartition(":")[2][:80]
            raise UnreadableError(f"its class {short} is missing; run the cell that defines {short} first")
        if not is_allowed(cls):
            raise self._other_fields(cls)
        return cls

    @staticmethod
    def _other_fields(cls: type) -> UnreadableError:
        return UnreadableError(f"its class {cls.__qualname__} had other fields when the result was written")


_READ_TAGGED: dict[str, Callable[[_Reader, Any, dict[str, Any]], Any]] = {
    "str": lambda _, found, whole: base64.b64decode(found).decode("utf-8", "surrogatepass"),
    "int": lambda _, found, whole: int(found, 16),
    "float": lambda _, found, whole: struct.unpack(">d", bytes.fromhex(found))[0],
    "numpy": lambda _, found, whole: arrays.array_from_bytes(base64.b64decode(found)),
    "numpy scalar": lambda _, found, whole: arrays.array_from_bytes(base64.b64decode(found))[()],
    "frame": lambda _, found, whole: arrays.frame_from_bytes(base64.b64decode(found)),
    "defaultdict": _Reader._read_defaultdict,
    "deque": _Reader._read_deque,
    "namespace": _Reader._read_namespace,
    "enum": _Reader._read_enum,
    "namedtuple": _Reader._read_namedtuple,
    "object": _Reader._read_object,
}
