"""What the signature of a hook says: how many arguments it takes, and whether ``shared`` is the first of them."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from .errors import SignatureError

__all__ = ["Signature", "means_shared", "signature_of", "signature_of_method", "takes_shared"]

_SHARED_NAMES = frozenset({"shared", "shared_storage", "shared_store", "store", "state"})


class Signature(NamedTuple):
    """The positional parameters of a hook, without ``self``."""

    required: int  # the number of parameters without a default; each one that must be passed by keyword counts as 100
    total: int
    star: bool  # whether it has ``*args``
    first: str | None  # the name of the first parameter
    second: str | None
    text: str


def signature_of_method(cls: type, name: str) -> Signature | None:
    """Return the signature of ``cls.name`` without ``self``; None if Python does not know it (a Mock, a builtin)."""
    raw = cls.__dict__[name]
    method = getattr(cls, name)
    if not callable(method):
        raise SignatureError(
            f"{cls.__qualname__}.{name} is {type(method).__name__}, not a method; write def {name}(self, ...)."
        )
    if isinstance(raw, staticmethod | classmethod):
        return signature_of(method, drop=0)
    return signature_of(method, drop=1 if hasattr(raw, "__get__") or _names_self(method) else 0)


def _names_self(method: Callable[..., Any]) -> bool:
    """Return whether the first parameter is called ``self``, as of a ``Mock`` that has the signature of a method."""
    try:
        return next(iter(inspect.signature(method).parameters), "") == "self"
    except (TypeError, ValueError):
        return False


def signature_of(method: Callable[..., Any], drop: int) -> Signature | None:
    """Return the signature of a function without its first ``drop`` parameters; None if Python does not know it."""
    try:
        parameters = list(inspect.signature(method).parameters.values())
    except (TypeError, ValueError):
        return None
    star = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    keyword_only = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if drop and (not positional or positional[0].name in _SHARED_NAMES) and not star:  # self was forgotten
        return Signature(99, -1, False, None, None, str(inspect.signature(method)))
    positional = positional[drop:]
    required = sum(p.default is p.empty for p in positional) + 100 * len(keyword_only)
    first, second = (positional[i].name if i < len(positional) else None for i in (0, 1))
    return Signature(required, len(positional), star, first, second, str(inspect.signature(method)))


def takes_shared(signature: Signature | None, count: int, unclear: bool | None) -> bool | None:
    """Return whether a hook takes ``shared`` before its ``count`` other arguments.

    None: the signature does not tell, or the hook cannot be called. ``unclear``: what an unclear one means.
    """
    if signature is None:
        return None
    if signature.second in _SHARED_NAMES and signature.first not in _SHARED_NAMES:  # the wrong way round
        return None
    plain = signature.required <= count <= signature.total or (signature.star and signature.required <= count)
    with_shared = signature.required <= count + 1 <= signature.total or (
        signature.star and signature.required <= count + 1
    )
    if plain and with_shared:
        if signature.first in _SHARED_NAMES:
            return unclear is not False
        return None if signature.star and signature.total < count else False
    return with_shared if plain or with_shared else None


def means_shared(name: str | None) -> bool:
    """Return whether the name of a first parameter stands for ``shared``, or says that it is not used."""
    return name is None or name in _SHARED_NAMES or name == "s" or name.startswith("_")
