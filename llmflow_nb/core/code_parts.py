"""Take apart the objects that code is made of, and tell the user's code from that of libraries."""

import dis
import functools
import sys
import sysconfig
from collections.abc import Mapping
from functools import lru_cache
from types import CodeType, FunctionType, MemberDescriptorType, MethodType
from typing import Any

from .encoding import pack
from .kinds import FIXED_TYPES
from .params import Params

__all__ = [
    "WRAPPERS",
    "attributes_of",
    "globals_of",
    "is_code",
    "is_followed",
    "is_library",
    "is_library_class",
    "is_library_function",
    "library_name",
    "names_of",
]

WRAPPERS: dict[type, tuple[str, ...]] = {
    staticmethod: ("__func__",),
    classmethod: ("__func__",),
    property: ("fget", "fset", "fdel"),
    MethodType: ("__func__", "__self__"),
    functools.partial: ("func", "args", "keywords"),
    functools.partialmethod: ("func", "args", "keywords"),
}
"""Objects around functions, with the attributes that count."""
_CODE = (FunctionType, *WRAPPERS)
_NEVER_CODE = FIXED_TYPES | {dict, list, set, frozenset, tuple, Params}
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def is_code(value: Any) -> bool:
    """Whether a value is code, alone or in a wrapper, so that it belongs to the fingerprint of the node that has it."""
    if type(value) in _NEVER_CODE:  # nearly all attributes of nodes
        return False
    return issubclass(type(value), _CODE) or (not isinstance(value, type) and "__wrapped__" in attributes_of(value))


def attributes_of(value: Any) -> Mapping[str, Any]:
    """Return the attributes that are stored in an object. None of its code runs."""
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
    """Whether to look into a function: one of the user's, or one of a library that leads to one of the user's."""
    seen: list[Any] = [function]
    for found in seen:  # grows as it is read
        if not isinstance(found, FunctionType) or not is_library_function(found):
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


def is_library_function(function: FunctionType) -> bool:
    """Whether a function is written in a library."""
    return is_library(function.__globals__.get("__name__") or "builtins")


def library_name(function: FunctionType) -> bytes:
    """Return where a function is written. Its ``__module__`` may be that of the function that it wraps."""
    return pack("name", str(function.__globals__.get("__name__")).encode(), function.__code__.co_qualname.encode())


def is_library_class(cls: type) -> bool:
    """Whether a class is written in a library, or is a node class of this package."""
    return "_library_class" in cls.__dict__ or is_library(cls.__module__)


def is_library(name: str, *, packages: bool = True) -> bool:
    """Whether a module is of the standard library, of this package, or (with ``packages``) of an installed one."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top in ("builtins", __name__.partition(".")[0]):
        return True
    if not packages or name == "__main__":
        return False
    file = getattr(sys.modules.get(name), "__file__", None) or ""
    return file.startswith(_LIBRARIES) or "site-packages" in file or "dist-packages" in file


@lru_cache(maxsize=1024)
def globals_of(code: CodeType) -> tuple[str, ...]:
    """Return the names that code reads from its module, or from the builtins."""
    steps = dis.get_instructions(code)
    found = {step.argval for step in steps if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    for inner in filter(_is_code_object, code.co_consts):
        found |= set(globals_of(inner))
    return tuple(sorted(name for name in found if name[:2] != "__"))  # such as __name__


@lru_cache(maxsize=1024)
def names_of(code: CodeType) -> tuple[str, ...]:
    """Return all names of attributes and globals in code."""
    found = set(code.co_names)
    for inner in filter(_is_code_object, code.co_consts):
        found |= set(names_of(inner))
    return tuple(sorted(found))


def _is_code_object(value: Any) -> bool:
    return isinstance(value, CodeType)
