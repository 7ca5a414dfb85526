"""Pickle the user's code by value, so that it arrives on a worker as it is now."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import ModuleType
from typing import Any

import cloudpickle

from ..core.code_parts import is_library

__all__ = ["dumps"]


def dumps(value: Any) -> bytes:
    """Pickle a value with the user's code in it: classes and functions of the notebook and of modules beside it."""
    with _by_value():
        pickled: bytes = cloudpickle.dumps(value)
    return pickled


@contextmanager
def _by_value() -> Iterator[None]:
    registered = []
    try:
        for module in _modules_of_user(tuple(sys.modules)):
            if module.__name__ not in cloudpickle.list_registry_pickle_by_value():
                cloudpickle.register_pickle_by_value(module)
                registered.append(module)
        yield
    finally:
        for module in registered:
            cloudpickle.unregister_pickle_by_value(module)


@lru_cache(maxsize=1)
def _modules_of_user(names: tuple[str, ...]) -> list[ModuleType]:
    """Return the modules of the user. The search takes 1 ms, so it is repeated only if the ``names`` of all change."""
    return [
        module
        for name, module in list(sys.modules.items())
        if name != "__main__" and getattr(module, "__file__", None) and module.__name__ == name and not is_library(name)
    ]
