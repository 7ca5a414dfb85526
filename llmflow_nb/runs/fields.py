"""The fields of a value, for the columns of an expanded table."""

import dataclasses
import sys
from collections.abc import Iterable, Mapping
from inspect import getattr_static
from typing import Any

__all__ = ["fields_of"]


def fields_of(value: Any) -> Mapping[Any, Any] | None:
    """Return the fields of a dict, a dataclass, a NamedTuple, or an attrs, msgspec or pydantic object; else None.

    One level deep, in the order of the class. A pydantic model has its computed and extra fields
    too, in the order of ``model_dump``. The class is inspected and not the object, which may have any attribute.
    """
    cls: Any = type(value)
    if issubclass(cls, Mapping):
        mapping: Mapping[Any, Any] = value
        return mapping
    names: Iterable[str]
    if _of_class(cls, "__pydantic_decorators__") and issubclass(cls, sys.modules["pydantic"].BaseModel):
        fields = [name for name, field in cls.model_fields.items() if field.exclude is not True]
        names = dict.fromkeys((*fields, *(value.model_extra or ()), *cls.__pydantic_decorators__.computed_fields))
    elif _of_class(cls, "__dataclass_fields__"):
        names = [field.name for field in dataclasses.fields(cls)]
    elif attributes := _of_class(cls, "__attrs_attrs__"):
        names = [attribute.name for attribute in attributes]
    else:
        names = _of_class(cls, "__struct_fields__") or _of_class(cls, "_fields")
        if not isinstance(names, tuple):
            return None
    return {name: _field(value, name) for name in names}


def _of_class(cls: type, name: str) -> Any:
    """Return an attribute of a class, or None. Ignores its metaclass, which may have any attribute."""
    return getattr_static(cls, name, None)


def _field(value: Any, name: str) -> Any:
    try:
        return getattr(value, name)
    except Exception:  # a computed field that fails must not hide the rest of the table
        return None
