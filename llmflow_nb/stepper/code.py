"""Whether the code of a node is still what it was: a fingerprint that needs no source text, for a notebook has none.

Made of the code objects of a class and of its bases up to the library's own: instructions, constants, names, defaults
and closures, and what the functions read from their module (a prompt, a helper function). Line numbers and file names
are no part of it, so running an unchanged cell again changes nothing.
"""

import dis
import hashlib
from collections.abc import Iterable
from functools import lru_cache
from types import CodeType, FunctionType, MethodType
from typing import Any

from ..core.hooks import is_library_class
from ..core.node import BaseNode
from .values import NoKeyError, key_of

__all__ = ["Fingerprints"]

_NOT_CODE = frozenset({"__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__firstlineno__", "_hooks"})
DEPTH = 8
"""Functions that call functions that call functions: so far they are looked into."""


class Fingerprints:
    """Fingerprints of nodes' classes, each worked out once; `forget` them when code may have been edited.

    Data that functions read from their module or class count as they were when they were first seen: a log that hooks
    append to, or a number that they advance, is no edit. What takes its place between two commands is, if it is
    something else.
    """

    def __init__(self) -> None:
        self._found: dict[Any, bytes] = {}
        self._data: dict[tuple[int, tuple[str, ...]], tuple[Any, Any]] = {}
        self._scope = 0
        self._is_settling = False

    def of(self, node: BaseNode) -> bytes:
        """Return the fingerprint of a node's code: of its class, and of hooks that were set on the object."""
        cls = type(node)
        own = {name: value for name, value in node.__dict__.items() if isinstance(value, FunctionType | MethodType)}
        key = (cls, *sorted((name, id(value)) for name, value in own.items()))
        found = self._found.get(key)
        if found is None:
            bases = [base for base in cls.__mro__ if hasattr(base, "_kind") and not is_library_class(base)]
            parts: list[Any] = []
            for base in bases:  # several of one name may come from one function
                self._scope = id(base) if "<locals>" in base.__qualname__ else 0
                parts.append(self._members(base, DEPTH))
            self._scope = id(node)
            parts.append([(name, self._value(value, DEPTH, (name,))) for name, value in sorted(own.items())])
            found = self._found[key] = hashlib.blake2b(repr(parts).encode(errors="replace"), digest_size=16).digest()
        return found

    def forget(self) -> None:
        """Look again."""
        self._found.clear()

    def settle(self, nodes: Iterable[BaseNode]) -> None:
        """Take the data as they are now for what they were: it was the code that has changed them."""
        self._found.clear()
        self._is_settling = True
        try:
            for node in nodes:
                self.of(node)
        finally:
            self._is_settling = False

    def _members(self, cls: type, depth: int) -> Any:
        where = cls.__module__, cls.__qualname__
        members = sorted((name, value) for name, value in vars(cls).items() if name not in _NOT_CODE)
        return cls.__qualname__, [(name, self._value(value, depth, (*where, name))) for name, value in members]

    def _value(self, value: Any, depth: int, where: tuple[str, ...]) -> Any:
        if isinstance(value, staticmethod | classmethod):
            return type(value).__name__, self._value(value.__func__, depth, where)
        if isinstance(value, property):
            return "property", [self._value(part, depth, where) for part in (value.fget, value.fset, value.fdel)]
        if isinstance(value, MethodType):
            return "method", self._value(value.__func__, depth, where)
        if isinstance(value, FunctionType):
            return self._function(value, depth, where)
        wrapped = getattr(value, "__wrapped__", None)
        if isinstance(wrapped, FunctionType):  # functools.cache and its like
            return type(value).__name__, self._function(wrapped, depth, where)
        if isinstance(value, type):
            return value.__module__, value.__qualname__
        place = self._scope, where
        before = self._data.get(place)
        if before is not None and (before[0] is value or self._is_settling):
            self._data[place] = value, before[1]
            return before[1]
        try:
            key = key_of(value)
        except NoKeyError:  # it may be anything: a client, a lock; what it is called has to do
            key = "some", type(value).__module__, type(value).__qualname__
        self._data[place] = value, key
        return key

    def _function(self, function: FunctionType, depth: int, where: tuple[str, ...]) -> Any:
        name = function.__module__, function.__qualname__
        if depth == 0:
            return name
        where = *where, *name  # several of one name may come from one function
        code = function.__code__
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        closure = [self._cell(cell, depth - 1, (*where, variable)) for variable, cell in cells]
        defaults = [
            self._value(values, depth, (*where, which))
            for which, values in (("defaults", function.__defaults__), ("kwdefaults", function.__kwdefaults__))
        ]
        reads = [(variable, self._global(function, variable, depth - 1)) for variable in _globals_of(code)]
        return _of_code(code), defaults, closure, reads

    def _cell(self, cell: Any, depth: int, where: tuple[str, ...]) -> Any:
        try:
            content = cell.cell_contents
        except ValueError:  # not filled yet
            return None
        if isinstance(content, type) and hasattr(content, "_kind"):  # what super() needs
            return None
        return self._value(content, depth, where)

    def _global(self, function: FunctionType, name: str, depth: int) -> Any:
        """What a function reads from its module. Functions of other modules count by name: libraries are not edited."""
        namespace = function.__globals__
        if name not in namespace:
            return "not there"
        value = namespace[name]
        is_here = getattr(value, "__module__", None) == function.__module__
        if isinstance(value, FunctionType) and not is_here:
            return value.__module__, value.__qualname__
        if isinstance(value, type) and is_here and depth > 0 and not hasattr(value, "_kind"):
            return self._members(value, depth - 1)
        return self._value(value, depth, (function.__module__, name))


@lru_cache(maxsize=1024)
def _globals_of(code: CodeType) -> tuple[str, ...]:
    found = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= set(_globals_of(constant))
    return tuple(sorted(found))


@lru_cache(maxsize=1024)
def _of_code(code: CodeType) -> Any:
    constants = [_of_code(c) if isinstance(c, CodeType) else (type(c).__name__, repr(c)) for c in code.co_consts]
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    return code.co_code.hex(), constants, names, code.co_flags, code.co_argcount, code.co_kwonlyargcount
