"""Read the code of nodes as bytes: classes and functions, and the code and data that they refer to.

Each class and function is read once, into a `Body`. A body refers to other classes and functions by index, so recursive
code is finite, and `fingerprint` can visit all bodies from a node.
"""

import operator
import typing
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType, MappingProxyType, ModuleType
from typing import Any, NamedTuple

from .code_data import CodeData, Place
from .code_parts import (
    MISSING,
    WRAPPERS,
    attributes_of,
    content_of,
    globals_of,
    is_code,
    is_followed,
    is_library,
    is_library_function,
    library_name,
    names_of,
)
from .encoding import NoKeyError, encode, encode_code, encode_sized, name_of, pack
from .hooks import Dialect
from .kinds import DICTS, LISTS, is_fixed, is_tuple
from .node import BaseNode

LARGE = 5_000
"""Data of more bytes are not read again while they are the same object."""

_SETTINGS = frozenset({"name", "grace", "volatile"})
"""Settings of every node class, in addition to those of its dialect."""
_DATA = frozenset({"__annotations__", "__pydantic_fields__"})
"""The dunder attributes of a class that count although they are data."""
_ABOUT_THE_SOURCE = frozenset({"__doc__", "__module__"})
"""Attributes that `functools.update_wrapper` copies to an object."""
_NOT_CODE = frozenset({"_hooks", "_definition", "_abc_impl"})

_UNORDERED = frozenset({typing.Union, typing.Literal})


class Child(NamedTuple):
    """A class or a function that another one refers to, and where it was found."""

    found: Any
    place: Place


class Body(NamedTuple):
    """The content of a class or a function: bytes, which refer to its children by index, and the children."""

    data: bytes
    children: list[Child]


class CodeReader:
    """Reads classes and functions, each once."""

    def __init__(self, states: CodeData) -> None:
        self._states = states
        self._bodies: dict[int, tuple[Any, Body]] = {}  # with the object, so that no id is reused
        self._children: list[Child] = []
        self._open: set[int] = set()
        self._checks: list[Callable[[], bool]] = []

    def is_current(self) -> bool:
        """Return whether everything that was read is unchanged: the very same objects, and equal data."""
        try:
            return all(is_unchanged() for is_unchanged in self._checks)
        except Exception:  # from the user's code, or from data that cannot be read now: the next reading reports it
            return False

    def _look(self, read: Callable[[], tuple[Any, ...]]) -> tuple[Any, ...]:
        """Return the objects that ``read`` returns, and have `is_current` compare them."""
        seen = read()

        def is_unchanged() -> bool:
            now = read()
            return len(now) == len(seen) and all(map(operator.is_, now, seen))

        self._checks.append(is_unchanged)
        return seen

    def node(self, cls: type, own: list[tuple[str, Any]], place: int) -> Body:
        """Return the body of a node: its class, and the code that was set on the object."""
        children = self._children = []
        parts = [self._follow(cls, ())]
        for name, value in own:
            parts += [name.encode(), self.value(value, (place, name))]
        return Body(pack("root", *parts), children)

    def body(self, child: Child) -> Body:
        """Return the body of a class or a function."""
        found, place = child
        if id(found) not in self._bodies:
            children = self._children = []
            data = self._class(found) if isinstance(found, type) else self._function(found, place)
            self._bodies[id(found)] = found, Body(data, children)
        return self._bodies[id(found)][1]

    def _follow(self, found: Any, place: Place) -> bytes:
        """Add a class or a function to the children of the current body, and return a reference to it."""
        self._children.append(Child(found, place))
        return pack("see", b"%d" % len(self._children))

    def value(self, value: Any, place: Place, *, is_inner: bool = False) -> bytes:
        """Return a value as bytes: its data, and references to its code.

        Args:
            value: An attribute, a default, the content of a closure, a global.
            place: Where it was found.
            is_inner: Whether it is an attribute of an object that cannot be taken apart.
        """
        if id(value) in self._open:
            return pack("cycle", name_of(type(value)))
        self._open.add(id(value))
        try:
            return self._value(value, place, is_inner)
        finally:
            self._open.discard(id(value))

    def _value(self, value: Any, place: Place, is_inner: bool) -> bytes:
        cls = type(value)
        declared = _declared(value)
        if declared is not None:
            self._checks.append(lambda: _declared(value) == declared)
            return self._states.counted(place, declared)
        if issubclass(cls, FunctionType):
            return self._follow(value, place) if is_followed(value) else library_name(value)
        if issubclass(cls, type):
            return name_of(value) if is_library(value.__module__) else self._follow(value, place)
        for kind, names in WRAPPERS.items():
            if issubclass(cls, kind):
                return pack(kind.__name__, *[self.value(getattr(value, name), (*place, name)) for name in names])
        known = self._states.large(place, value)
        if known is not None:
            return self._data(place, None, known)
        try:
            data, size, classes = _data_of(value)
        except (NoKeyError, RecursionError):
            return self._parts(value, place, is_inner)
        if size > LARGE:
            self._states.keep_large(place, value, classes)
        elif not is_fixed(value, cls):
            self._checks.append(lambda: _data_of(value)[0] == data)
        return self._data(place, data, classes)

    def _data(self, place: Place, data: bytes | None, classes: list[type]) -> bytes:
        return pack("data", self._states.counted(place, data), *[self.value(cls, (*place, "class")) for cls in classes])

    def _parts(self, value: Any, place: Place, is_inner: bool) -> bytes:
        """Return the bytes of a value that contains code or an object that cannot be taken apart."""
        cls = type(value)
        if cls in (set, frozenset):  # in no fixed order
            items = self._look(lambda: tuple(value))
            return pack("set", *sorted(name_of(type(item)) for item in items))
        if cls in DICTS or cls is MappingProxyType:
            items = self._look(lambda: _flat(value))
        elif cls in LISTS or is_tuple(cls):
            items = self._look(lambda: tuple(value))
        else:
            return self._object(value, place, is_inner)
        parts = [self.value(item, (*place, n), is_inner=is_inner) for n, item in enumerate(items)]
        return pack("items", name_of(cls), *parts)

    def _object(self, value: Any, place: Place, is_inner: bool) -> bytes:
        """Return the bytes of an object that is no data: its class, its code, and one level of other attributes."""
        cls = type(value)
        if cls.__module__ == "builtins" or issubclass(cls, ModuleType):  # such as a builtin function, a descriptor
            return pack("builtin", name_of(cls), name_of(value))
        origin = typing.get_origin(value)
        if origin is not None:  # a type such as list[str]
            parts = [self.value(part, (*place, n)) for n, part in enumerate(typing.get_args(value))]
            return pack("type", name_of(origin), *(sorted(parts) if origin in _UNORDERED else parts))
        parts = [self.value(cls, place)]
        if hasattr(cls, "_kind"):  # a node: its attributes are not code
            return pack("node", *parts)
        attributes = self._look(lambda: (type(value), *_flat(_attributes_or_wrapped(value))))
        counts = not is_inner and not is_library(cls.__module__, packages=False)
        for name, attribute in sorted(zip(attributes[1::2], attributes[2::2], strict=True), key=operator.itemgetter(0)):
            if name not in _ABOUT_THE_SOURCE and (counts or is_code(attribute)):
                parts += [name.encode(), self.value(attribute, (*place, name), is_inner=True)]
        return pack("object", *parts)

    def _class(self, cls: type) -> bytes:
        place: Place = (cls.__module__, cls.__qualname__)
        if "<locals>" in cls.__qualname__:  # one function may make several of one name
            place += (id(cls),)
        self._look(lambda: (type(cls), *cls.__bases__, _has_nodes(cls), *_flat(vars(cls))))
        parts = [cls.__qualname__.encode(), self.value(type(cls), place)]
        parts += [self.value(base, place) for base in cls.__bases__]
        for name, member in sorted(vars(cls).items()):
            if self._counts(cls, name, member):
                parts += [name.encode(), self.value(member, (*place, name))]
        return pack("class", *parts)

    def _counts(self, cls: type, name: str, member: Any) -> bool:
        if name in _NOT_CODE:
            return False
        if name[:2] == name[-2:] == "__":
            return name in _DATA or is_code(member)
        return not (name in _settings_of(cls) and _has_nodes(cls))

    def _function(self, function: FunctionType, place: Place) -> bytes:
        self._look(lambda: _read_by(function))
        code = function.__code__
        place = (*place, function.__module__, function.__qualname__)
        is_library = is_library_function(function)
        parts = [library_name(function) if is_library else encode_code(code)]
        parts.append(self.value(function.__defaults__, (*place, "defaults")))
        parts.append(self.value(function.__kwdefaults__, (*place, "kwdefaults")))
        for name, content in zip(code.co_freevars, map(content_of, function.__closure__ or ()), strict=True):
            parts += [name.encode(), b"" if content is MISSING else self.value(content, (*place, "closure", name))]
        for name, attribute in sorted(function.__dict__.items()):
            parts += [name.encode(), self.value(attribute, (*place, name))]
        for name in () if is_library else globals_of(code):
            parts += [name.encode(), self._global(function, name)]
        return pack("function", *parts)

    def _global(self, function: FunctionType, name: str) -> bytes:
        """Return the bytes of a global. Of a user's module, only the names that the function contains count."""
        namespace = function.__globals__
        if name not in namespace:
            return b""  # a builtin, or not defined yet
        value = namespace[name]
        if isinstance(value, ModuleType):
            return self._module(value, names_of(function.__code__))
        return self.value(value, (namespace.get("__name__"), name))

    def _module(self, module: ModuleType, names: Iterable[str]) -> bytes:
        parts = [module.__name__.encode()]
        if is_library(module.__name__) or id(module) in self._open:
            return pack("module", *parts)
        self._open.add(id(module))
        self._look(lambda: tuple(vars(module).get(name) for name in names))
        for name in names:
            value = vars(module).get(name)
            if isinstance(value, ModuleType):
                parts += [name.encode(), self._module(value, names)]
            elif value is not None:
                parts += [name.encode(), self.value(value, (module.__name__, name))]
        self._open.discard(id(module))
        return pack("module", *parts)


def _data_of(value: Any) -> tuple[bytes, int, list[type]]:
    """Return data as bytes, about how many bytes were read for it, and the classes of the objects in it.

    Raises:
        NoKeyError: There is something in it that is not data.
        RecursionError: It is nested too deeply.
    """
    classes: list[type] = []

    def other(found: Any) -> bytes:
        if not issubclass(type(found), type):
            raise NoKeyError
        classes.append(found)
        return str(found.__qualname__).encode()

    data, size = encode_sized(value, other)
    return data, size, list(dict.fromkeys(classes))


def _flat(mapping: Mapping[Any, Any]) -> tuple[Any, ...]:
    """Return keys and values in turn."""
    return tuple(part for pair in mapping.items() for part in pair)


def _read_by(function: FunctionType) -> tuple[Any, ...]:
    """Return the objects that the fingerprint of a function reads."""
    code, namespace = function.__code__, function.__globals__
    globals_ = [namespace.get(name, MISSING) for name in globals_of(code)]
    cells = map(content_of, function.__closure__ or ())
    return code, function.__defaults__, function.__kwdefaults__, *cells, *globals_, *_flat(function.__dict__)


def _attributes_or_wrapped(value: Any) -> Mapping[str, Any]:
    if hasattr(type(value), "__wrapped__"):  # a proxy around a function
        return {"__wrapped__": value.__wrapped__}
    return attributes_of(value)


def _settings_of(cls: type) -> frozenset[str]:
    """Return the names of the engine's settings in a node class or a mixin of one."""
    dialect: Dialect = getattr(cls, "_dialect", BaseNode._dialect)
    return _SETTINGS | dialect.settings


def _has_nodes(cls: type) -> bool:
    """Return whether it is a node class, or a mixin of one."""
    return hasattr(cls, "_kind") or any(map(_has_nodes, type.__subclasses__(cls)))


def _declared(value: Any) -> bytes | None:
    """Return the ``__fingerprint__`` of a function or an object; None if it has none."""
    cls = type(value)
    declared = None
    if issubclass(cls, FunctionType):
        declared = value.__dict__.get("__fingerprint__")
    elif not issubclass(cls, type) and any("__fingerprint__" in vars(base) for base in cls.__mro__):
        declared = value.__fingerprint__
    return (
        None if declared is None else pack("declared", encode(declared() if callable(declared) else declared, name_of))
    )
