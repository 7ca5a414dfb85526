"""Read from the signature of a hook how many arguments it takes, and whether the first of them is ``shared``."""

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from .errors import SignatureError

_SHARED_NAMES = frozenset({"shared", "shared_storage", "shared_store", "store", "state"})


class Signature(NamedTuple):
    """The positional parameters of a hook, without ``self``."""

    names: tuple[str, ...]
    required: float  # the minimum number of arguments; infinite if positional arguments alone are not enough
    has_star: bool  # whether it has ``*args``
    text: str

    @property
    def first(self) -> str | None:
        """The name of the first parameter."""
        return self.names[0] if self.names else None

    def accepts(self, count: int) -> bool:
        """Return whether the hook can be called with this number of positional arguments."""
        return self.required <= count and (self.has_star or count <= len(self.names))


def signature_of_method(cls: type, name: str) -> Signature | None:
    """Return the signature of ``cls.name`` without ``self``; None if Python does not know it (a Mock, a builtin)."""
    raw = cls.__dict__[name]
    method = getattr(cls, name)
    if not callable(method):
        raise SignatureError(
            f"{cls.__qualname__}.{name} is {type(method).__name__}, not a method; write def {name}(self, ...)."
        )
    if isinstance(raw, staticmethod | classmethod):
        return signature_of(method)
    return signature_of(method, has_self=True if hasattr(raw, "__get__") else None)


def signature_of(method: Callable[..., Any], *, has_self: bool | None = False) -> Signature | None:
    """Return the signature of a function; None if Python does not know it.

    Args:
        method: The function.
        has_self: Whether its first parameter is ``self``, which is left out. None: if it has that name, as in a
            ``Mock`` that has the signature of a method.
    """
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):
        return None
    parameters = signature.parameters.values()
    has_star = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if has_self is None:
        has_self = next(iter(signature.parameters), "") == "self"
    if has_self and not has_star and (not positional or positional[0].name in _SHARED_NAMES):  # self was forgotten
        return Signature((), math.inf, False, str(signature))
    positional = positional[1:] if has_self else positional
    required: float = sum(p.default is p.empty for p in positional)
    if any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters):
        required = math.inf
    return Signature(tuple(p.name for p in positional), required, has_star, str(signature))


def takes_shared(signature: Signature | None, count: int, unclear: bool | None) -> bool | None:
    """Return whether a hook takes ``shared`` before its ``count`` other arguments.

    None: the signature does not say, or the hook cannot be called. ``unclear``: what an unclear signature means.
    """
    if signature is None:
        return None
    names = signature.names
    if len(names) > 1 and names[1] in _SHARED_NAMES and names[0] not in _SHARED_NAMES:  # in the wrong order
        return None
    plain, with_shared = signature.accepts(count), signature.accepts(count + 1)
    if plain != with_shared:
        return with_shared
    if plain and signature.first in _SHARED_NAMES:
        return unclear is not False
    return None if not plain or len(names) < count else False


def means_shared(name: str | None) -> bool:
    """Return whether the name of a first parameter stands for ``shared``, or says that it is not used."""
    return name is None or name in _SHARED_NAMES or name == "s" or name.startswith("_")
