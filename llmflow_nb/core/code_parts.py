"""Take code objects apart, and distinguish the user's code from that of libraries."""

import dis
import functools
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import CodeType, FunctionType, MemberDescriptorType, MethodType
from typing import Any

from .encoding import pack
from .kinds import FIXED_TYPES
from .params import Params

MISSING: Any = object()
"""Stands for a value that is not there yet."""

WRAPPERS: dict[type, tuple[str, ...]] = {
    staticmethod: ("__func__",),
    classmethod: ("__func__",),
    property: ("fget", "fset", "fdel"),
    MethodType: ("__func__", "__self__"),
    functools.partial: ("func", "args", "keywords"),
    functools.partialmethod: ("func", "args", "keywords"),
}
"""Objects around functions, with the attributes that a fingerprint contains."""
_CODE = (FunctionType, *WRAPPERS)
_NEVER_CODE = FIXED_TYPES | {dict, list, set, frozenset, tuple, Params}
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def is_code(value: Any) -> bool:
    """Return whether a value is code, alone or in a wrapper, which belongs to the fingerprint of its node."""
    if type(value) in _NEVER_CODE:  # nearly all attributes of nodes
        return False
    return issubclass(type(value), _CODE) or (not isinstance(value, type) and "__wrapped__" in attributes_of(value))


def attributes_of(value: Any) -> Mapping[str, Any]:
    """Return the attributes that are stored in an object, without running any of its code."""
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


def is_followed(function: FunctionType) -> bool:
    """Return whether to read a function: one of the user's, or one of a library that leads to code of the user's."""
    seen: list[Any] = [function]
    for found in seen:  # it grows meanwhile
        if not isinstance(found, FunctionType) or not is_library_function(found):
            return True
        inner = [*map(content_of, found.__closure__ or ()), found.__dict__.get("__wrapped__")]
        seen += [each for each in inner if is_code(each) and all(each is not other for other in seen)]
    return False


def content_of(cell: Any) -> Any:
    """Return the content of a cell of a closure; `MISSING` if it has none yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING


def is_library_function(function: FunctionType) -> bool:
    """Return whether a function is written in a library."""
    return is_library(function.__globals__.get("__name__") or "builtins")


def library_name(function: FunctionType) -> bytes:
    """Return the name of a function with the module where it is written: ``__module__`` may be copied from another."""
    return pack("name", str(function.__globals__.get("__name__")).encode(), function.__code__.co_qualname.encode())


def is_library(name: str, *, packages: bool = True) -> bool:
    """Return whether a module is in the standard library, this package, or (with ``packages``) an installed one."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top in ("builtins", __name__.partition(".")[0]):
        return True
    if not packages or name == "__main__":
        return False
    file = getattr(sys.modules.get(name), "__file__", None) or ""
    return file.startswith(_LIBRARIES) or "site-packages" in file or "dist-packages" in file


@lru_cache(maxsize=1024)
def globals_of(code: CodeType) -> tuple[str, ...]:
    """Return the names that code reads from its module or the builtins."""
    steps = dis.get_instructions(code)
    found = {step.argval for step in steps if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    found.update(name for inner in _inner_code(code) for name in globals_of(inner))
    return tuple(sorted(name for name in found if name[:2] != "__"))  # such as __name__


@lru_cache(maxsize=1024)
def names_of(code: CodeType) -> tuple[str, ...]:
    """Return all names of attributes and globals in code."""
    return tuple(sorted({*code.co_names, *(name for inner in _inner_code(code) for name in names_of(inner))}))


def _inner_code(code: CodeType) -> Iterator[CodeType]:
    return (value for value in code.co_consts if isinstance(value, CodeType))
