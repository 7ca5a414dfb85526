"""What the code of a node is: a fingerprint that is the same in every process, and needs no source text.

It is made of the bytecode of the node's class and of all that leads from there to code or data of the user's:

- every base class and mixin, and hooks that were set on the object;
- what decorators put around a hook: wrappers, `functools` objects, objects with ``__call__`` or ``__get__``;
- defaults, closures and attributes of functions;
- what functions read from their module: constants, helpers, classes, names in the user's own modules.

Line numbers, file names and docstrings are no part of it, nor are the settings of the engine, such as ``max_retries``,
since no answer depends on them. The minor version of Python is, since bytecode differs between versions. Code of the
standard library and of installed packages counts by name. An object that cannot be taken apart, such as a client,
counts by its class and its plain attributes.

A function or an object can say itself what it depends on: a method or an attribute ``__fingerprint__`` without
arguments, whose result counts in its place.
"""

import dis
import functools
import operator
import sys
import sysconfig
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any, NamedTuple

from .encoding import NoKeyError, digest, encode, encode_code, encode_sized, name_of, pack
from .hooks import Dialect
from .kinds import DICTS, FIXED_TYPES, LISTS, is_fixed, is_tuple
from .node import BaseNode
from .params import Params

__all__ = ["Fingerprints", "fingerprint", "is_code"]

Place = tuple[Any, ...]
"""Where a value was found, such as ("my_module", "Ask", "exec", "closure", "model")."""

VERSION = f"1 {sys.version_info[0]}.{sys.version_info[1]}".encode()
"""The version of this format, and of Python."""
LARGE = 5_000
"""Data of more bytes are not read again as long as they are the same object."""

_SETTINGS = frozenset({"name", "grace", "volatile"})
"""Of every node class, beside those of its dialect."""
_DATA = frozenset({"__annotations__", "__pydantic_fields__"})
"""Names of class attributes that Python or a package makes, and that count all the same. Others of that form do not."""
_ABOUT_THE_SOURCE = frozenset({"__doc__", "__module__"})
"""What `functools.update_wrapper` copies to an object."""
_NOT_CODE = frozenset({"_hooks", "_definition", "_abc_impl"})

_WRAPPERS: dict[type, tuple[str, ...]] = {
    staticmethod: ("__func__",),
    classmethod: ("__func__",),
    property: ("fget", "fset", "fdel"),
    MethodType: ("__func__", "__self__"),
    functools.partial: ("func", "args", "keywords"),
    functools.partialmethod: ("func", "args", "keywords"),
}
"""Objects around functions, with those of their attributes that count."""
_CODE = (FunctionType, *_WRAPPERS)
_BY_NAME = (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)
_UNORDERED = frozenset({typing.Union, typing.Literal})
_NEVER_CODE = FIXED_TYPES | {dict, list, set, frozenset, tuple, Params}
_MISSING: Any = object()
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def fingerprint(node: BaseNode | type) -> bytes:
    """Return 16 bytes that stand for the code of a node, or of a class, as it is now."""
    return Fingerprints().of(node)


def is_code(value: Any) -> bool:
    """Whether a value is code, alone or in a wrapper, so that it belongs to the fingerprint of the node that has it."""
    if type(value) in _NEVER_CODE:  # nearly all attributes of nodes
        return False
    return issubclass(type(value), _CODE) or (not isinstance(value, type) and "__wrapped__" in _attributes(value))


class Fingerprints:
    """Fingerprints of nodes, each worked out once; `forget` them when code may have been edited.

    Data that functions read from their module or class count as they were when they were first seen: a log that hooks
    append to, or a number that they advance, is no edit. A change that comes between two calls of `settle` is one.

    Reading all code takes long. So a reader remembers which objects it has read where: `forget` compares these, and
    only if one is another object, or if data have changed in place, all is read again.
    """

    def __init__(self) -> None:
        self._found: dict[Any, tuple[bytes, Any]] = {}  # with the objects in the key, so that no id is used again
        self._data: dict[Place, tuple[bytes, bytes]] = {}
        self._large: dict[Place, tuple[Any, list[type] | None]] = {}
        self._is_settling = False
        self._reader = _Reader(self)

    def of(self, node: BaseNode | type) -> bytes:
        """Return the fingerprint of a node's code: of its class, and of code that was set on the object."""
        cls, attributes = (node, {}) if isinstance(node, type) else (type(node), node.__dict__)
        own = sorted((name, value) for name, value in attributes.items() if is_code(value))
        key = (cls, *((name, id(value)) for name, value in own))
        found = self._found.get(key)
        if found is None:
            root = self._reader.node(cls, own, id(node))
            found = self._found[key] = digest(pack("node", VERSION, *self._walk(root))), own
        return found[0]

    def _walk(self, root: "_Body") -> Iterator[bytes]:
        """Yield all that a node leads to, each class and function once, told by a number in the order of meeting."""
        bodies = [root]
        numbers: dict[int, int] = {}
        for body in bodies:  # grows as it is read
            yield body.data
            for child in body.children:
                number = numbers.get(id(child.found))
                if number is None:
                    number = numbers[id(child.found)] = len(bodies)
                    bodies.append(self._reader.body(child))
                yield b"%d" % number

    def forget(self) -> None:
        """Look again at what may have been edited."""
        if not self._reader.is_current():
            self._found.clear()
            self._reader = _Reader(self)

    def settle(self, nodes: Iterable[BaseNode]) -> None:
        """Take the data as they are now for what they were: it was the code that has changed them."""
        self.forget()
        self._is_settling = True
        try:
            for node in nodes:
                self.of(node)
        finally:
            self._is_settling = False

    def data(self, place: Place, now: bytes | None = None) -> bytes:
        """Return what the data at a place count as: what they were at first, unless they were edited.

        Args:
            place: Where they are.
            now: What they are. None: the same as before.
        """
        first, settled = self._data[place] if now is None else self._data.get(place, (now, now))
        if now is not None and now != settled:
            first = first if self._is_settling else now
        self._data[place] = first, settled if now is None else now
        return first

    def keep_large(self, place: Place, value: Any, classes: list[type]) -> None:
        """Remember data that take long to read. They count as the same as long as they are the same object."""
        self._large[place] = value, classes

    def large(self, place: Place, value: Any) -> list[type] | None:
        """Return the classes of the objects in large data that were read before; None if these were not."""
        found, classes = self._large.get(place, (self, None))
        return classes if found is value else None


class _Child(NamedTuple):
    """A class or a function that another one leads to, and where it was found."""

    found: Any
    place: Place


class _Body(NamedTuple):
    """What a class or a function is made of: bytes, which tell its children by their index, and the children."""

    data: bytes
    children: list[_Child]


class _Reader:
    """Reads classes and functions, each once."""

    def __init__(self, prints: Fingerprints) -> None:
        self._prints = prints
        self._bodies: dict[int, tuple[Any, _Body]] = {}  # with the object, so that no id comes to mean another one
        self._children: list[_Child] = []
        self._open: set[int] = set()
        self._seen: list[tuple[Callable[[], tuple[Any, ...]], tuple[Any, ...]]] = []
        self._seen_data: list[tuple[Callable[[], bytes | None], bytes]] = []

    def is_current(self) -> bool:
        """Whether all that was read is the same: the very same objects, and data that have not changed in place."""
        try:
            for read, seen in self._seen:
                now = read()
                if len(now) != len(seen) or not all(map(operator.is_, now, seen)):
                    return False
            return all(read() == seen for read, seen in self._seen_data)
        except Exception:  # from the user's code, or data that cannot be read any more: reading all again reports it
            return False

    def _look(self, read: Callable[[], tuple[Any, ...]]) -> tuple[Any, ...]:
        """Return objects that are about to be read, and remember them."""
        seen = read()
        self._seen.append((read, seen))
        return seen

    def node(self, cls: type, own: list[tuple[str, Any]], place: int) -> _Body:
        """Return what a node leads to: its class, and the code that was set on the object."""
        children = self._children = []
        parts = [self._follow(cls, ())]
        for name, value in own:
            parts += [name.encode(), self.value(value, (place, name))]
        return _Body(pack("root", *parts), children)

    def body(self, child: _Child) -> _Body:
        """Return what a class or a function is made of."""
        found, place = child
        if id(found) not in self._bodies:
            children = self._children = []
            data = self._class(found) if isinstance(found, type) else self._function(found, place)
            self._bodies[id(found)] = found, _Body(data, children)
        return self._bodies[id(found)][1]

    def _follow(self, found: Any, place: Place) -> bytes:
        """Have a class or a function looked into, and return by which index it is a child of what is read now."""
        self._children.append(_Child(found, place))
        return pack("see", b"%d" % len(self._children))

    def value(self, value: Any, place: Place, *, is_inner: bool = False) -> bytes:
        """Return what a value counts as: its data, and the code that it leads to.

        Args:
            value: An attribute, a default, the content of a closure, a global.
            place: Where it was found.
            is_inner: It is an attribute of an object that cannot be taken apart.
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
            self._seen_data.append((lambda: _declared(value), declared))
            return self._prints.data(place, declared)
        if issubclass(cls, FunctionType):
            return self._follow(value, place) if _is_followed(value) else _library_name(value)
        if issubclass(cls, type):
            return name_of(value) if _is_library_class(value) else self._follow(value, place)
        for kind, names in _WRAPPERS.items():
            if issubclass(cls, kind):
                return pack(kind.__name__, *[self.value(getattr(value, name), (*place, name)) for name in names])
        known = self._prints.large(place, value)
        if known is not None:
            return self._data(place, None, known)
        try:
            data, size, classes = _data_of(value)
        except (NoKeyError, RecursionError):
            return self._parts(value, place, is_inner)
        if size > LARGE:
            self._prints.keep_large(place, value, classes)
        elif not is_fixed(value, cls):
            self._seen_data.append((lambda: _data_of(value)[0], data))
        return self._data(place, data, classes)

    def _data(self, place: Place, data: bytes | None, classes: list[type]) -> bytes:
        return pack("data", self._prints.data(place, data), *[self.value(cls, (*place, "class")) for cls in classes])

    def _parts(self, value: Any, place: Place, is_inner: bool) -> bytes:
        """What a value counts as in which there is code, or an object that cannot be taken apart."""
        cls = type(value)
        if cls in (set, frozenset):  # nothing says which of them comes first
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
        """What an object counts as that is no data: its class, its code, and one level of other attributes."""
        cls = type(value)
        if issubclass(cls, _BY_NAME):
            return name_of(value)
        origin = typing.get_origin(value)
        if origin is not None:  # a type such as list[str]
            parts = [self.value(part, (*place, n)) for n, part in enumerate(typing.get_args(value))]
            return pack("type", name_of(origin), *(sorted(parts) if origin in _UNORDERED else parts))
        parts = [self.value(cls, place)]
        if hasattr(cls, "_kind"):  # a node, whose attributes are no code
            return pack("node", *parts)
        attributes = self._look(lambda: (type(value), *_flat(_attributes_or_wrapped(value))))
        counts = not is_inner and not _is_library(cls.__module__, packages=False)
        for name, attribute in sorted(zip(attributes[1::2], attributes[2::2], strict=True), key=_first):
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
        is_library = _is_library_function(function)
        parts = [_library_name(function) if is_library else encode_code(code)]
        parts.append(self.value(function.__defaults__, (*place, "defaults")))
        parts.append(self.value(function.__kwdefaults__, (*place, "kwdefaults")))
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            parts += [name.encode(), self._cell(cell, (*place, "closure", name))]
        for name, attribute in sorted(function.__dict__.items()):
            parts += [name.encode(), self.value(attribute, (*place, name))]
        for name in () if is_library else _globals_of(code):
            parts += [name.encode(), self._global(function, name)]
        return pack("function", *parts)

    def _cell(self, cell: Any, place: Place) -> bytes:
        try:
            content = cell.cell_contents
        except ValueError:  # not filled yet
            return b""
        return self.value(content, place)

    def _global(self, function: FunctionType, name: str) -> bytes:
        """What a function reads from its module. Of a module of the user's: the names that the function has."""
        namespace = function.__globals__
        if name not in namespace:
            return b""  # a builtin, or not there yet
        value = namespace[name]
        if isinstance(value, ModuleType):
            return self._module(value, _names_of(function.__code__))
        return self.value(value, (namespace.get("__name__"), name))

    def _module(self, module: ModuleType, names: Iterable[str]) -> bytes:
        parts = [module.__name__.encode()]
        if _is_library(module.__name__) or id(module) in self._open:
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


def _first(pair: tuple[Any, Any]) -> Any:
    return pair[0]


def _flat(mapping: Mapping[Any, Any]) -> tuple[Any, ...]:
    """Return keys and values in turn."""
    return tuple(part for pair in mapping.items() for part in pair)


def _read_by(function: FunctionType) -> tuple[Any, ...]:
    """Return the objects that the fingerprint of a function reads."""
    code, namespace = function.__code__, function.__globals__
    globals_ = [namespace.get(name, _MISSING) for name in _globals_of(code)]
    cells = [_content(cell) for cell in function.__closure__ or ()]
    return code, function.__defaults__, function.__kwdefaults__, *cells, *globals_, *_flat(function.__dict__)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return _MISSING


def _attributes_or_wrapped(value: Any) -> Mapping[str, Any]:
    if hasattr(type(value), "__wrapped__"):  # a proxy around a function
        return {"__wrapped__": value.__wrapped__}
    return _attributes(value)


def _settings_of(cls: type) -> frozenset[str]:
    """The names that are settings of the engine, in a node class or in a mixin of one."""
    dialect: Dialect = getattr(cls, "_dialect", BaseNode._dialect)
    return _SETTINGS | dialect.settings


def _has_nodes(cls: type) -> bool:
    """Whether it is a class of nodes, or a mixin of one."""
    return hasattr(cls, "_kind") or any(map(_has_nodes, type.__subclasses__(cls)))


def _declared(value: Any) -> bytes | None:
    """What a function or an object says itself that it depends on, by ``__fingerprint__``; None if it says nothing."""
    cls = type(value)
    if issubclass(cls, FunctionType):
        says = value.__dict__.get("__fingerprint__")
    elif issubclass(cls, type) or cls.__module__ == "builtins":
        return None
    else:
        says = value.__fingerprint__ if any("__fingerprint__" in vars(base) for base in cls.__mro__) else None
    return None if says is None else pack("declared", encode(says() if callable(says) else says, name_of))


def _attributes(value: Any) -> Mapping[str, Any]:
    """The attributes that are stored in an object, without asking it."""
    try:
        found = dict(object.__getattribute__(value, "__dict__"))
    except (AttributeError, TypeError, ValueError):
        found = {}
    for base in type(value).__mro__:
        for name, member in vars(base).items() if base.__module__ != "builtins" else ():
            if type(member) is MemberDescriptorType and name not in found:
                try:
                    found[name] = member.__get__(value)
                except AttributeError:  # not set
                    continue
    return found


def _is_followed(function: FunctionType) -> bool:
    """Whether to look into a function: one of the user's, or one of a library that leads to one of the user's."""
    seen: list[Any] = [function]
    for found in seen:  # grows as it is read
        if not isinstance(found, FunctionType) or not _is_library_function(found):
            return True
        contents = [cell.cell_contents for cell in found.__closure__ or () if _is_filled(cell)]
        inner = [*contents, found.__dict__.get("__wrapped__")]
        seen += [each for each in inner if is_code(each) and all(each is not other for other in seen)]
    return False


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def _is_library_function(function: FunctionType) -> bool:
    return _is_library(function.__globals__.get("__name__") or "builtins")


def _library_name(function: FunctionType) -> bytes:
    """Where a function is written. Its ``__module__`` may be that of the function that it wraps."""
    return pack("name", str(function.__globals__.get("__name__")).encode(), function.__code__.co_qualname.encode())


def _is_library_class(cls: type) -> bool:
    return "_library_class" in cls.__dict__ or _is_library(cls.__module__)


def _is_library(name: str, *, packages: bool = True) -> bool:
    """Whether a module is of the standard library, of this package, or (with ``packages``) of an installed one."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top in ("builtins", __name__.partition(".")[0]):
        return True
    if not packages or name == "__main__":
        return False
    file = getattr(sys.modules.get(name), "__file__", None) or ""
    return file.startswith(_LIBRARIES) or "site-packages" in file or "dist-packages" in file


@lru_cache(maxsize=1024)
def _globals_of(code: CodeType) -> tuple[str, ...]:
    """The names that code reads from its module, or from the builtins."""
    steps = dis.get_instructions(code)
    found = {step.argval for step in steps if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    for inner in filter(_is_code_object, code.co_consts):
        found |= set(_globals_of(inner))
    return tuple(sorted(name for name in found if name[:2] != "__"))  # such as __name__


@lru_cache(maxsize=1024)
def _names_of(code: CodeType) -> tuple[str, ...]:
    """All names of attributes and globals in code."""
    found = set(code.co_names)
    for inner in filter(_is_code_object, code.co_consts):
        found |= set(_names_of(inner))
    return tuple(sorted(found))


def _is_code_object(value: Any) -> bool:
    return isinstance(value, CodeType)
