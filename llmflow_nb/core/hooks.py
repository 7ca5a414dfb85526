"""Which hooks a class has, and how each is called. It is decided once per class.

``exec`` and the fallback may be written in two ways, as in the two epochs of PocketFlow::

    exec(self, prep_res)            exec(self, shared, prep_res)
    exec_fallback(self, prep_res, exc)    exec_fallback(self, shared, prep_res, exc)

Each method is decided separately, by the number of its positional parameters. If that is not enough (``*args``, an
optional second parameter), the name of the first parameter decides, then the nearest base class with a clear signature,
then the dialect. If the dialect does not decide either, the class is refused.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter
from types import FunctionType
from typing import Any

from .errors import SignatureError, warn
from .layers import Layer
from .settings import SETTINGS
from .signatures import Signature, means_shared, signature_of, signature_of_method, takes_shared
from .text import quoted

_ARGUMENTS = {
    "prep": ("shared",),
    "exec": ("prep_res",),
    "fallback": ("prep_res", "exc"),
    "post": ("shared", "prep_res", "exec_res"),
}
"""The arguments of each hook. ``exec`` and the fallback may take ``shared`` before them."""
ROLES = tuple(_ARGUMENTS)


@dataclass(frozen=True, slots=True, eq=False)  # each generated method takes time at import
class Dialect:
    """How a family of node classes spells its hooks. For each role: the names, the preferred one first.

    Attributes:
        unclear_takes_shared: Whether a hook with an unclear signature takes ``shared``. None: refuse it.
        any_action: Let ``post`` return any hashable value, as PocketFlow does, not only ``str`` and None.
        hooks_overlap: Whether the async ``prep`` and ``post`` of concurrent walks are awaited concurrently too.
        settings: The node attributes that the engine reads. A PocketFlow class may use ``timeout`` or ``limiter`` for
            something else.
        layers: By kind of node, the methods around the hooks that a program may override, the outermost first.
        router: The method of a flow that chooses the next node, which a program may override. "": there is none.
    """

    prep: tuple[str, ...] = ("prep",)
    exec: tuple[str, ...] = ("exec",)
    fallback: tuple[str, ...] = ("exec_fallback", "process_after_fail")
    post: tuple[str, ...] = ("post",)
    unclear_takes_shared: bool | None = None
    any_action: bool = False
    hooks_overlap: bool = False
    settings: frozenset[str] = frozenset(SETTINGS) - {"name", "grace", "volatile"}
    layers: Mapping[str, tuple[Layer, ...]] = field(default_factory=dict)
    router: str = ""

    def names(self) -> tuple[str, ...]:
        """Return all names of hooks in this dialect."""
        return self.prep + self.exec + self.fallback + self.post

    def names_around(self) -> set[str]:
        """Return all names of methods around the hooks that a program may override."""
        return {layer.method for layers in self.layers.values() for layer in layers} | ({self.router} - {""})


@dataclass(frozen=True, slots=True, eq=False)  # each generated method takes time at import
class Hooks:
    """The hooks of one class (or of one node, if hooks were set on the object itself).

    Attributes:
        prep, exec, fallback, post: The names of the methods to call.
        exec_takes_shared, fallback_takes_shared: Whether ``shared`` is the first argument.
        exec_is_async, fallback_is_async: Whether the method is ``async def``.
        own: The roles that a user's class defines; the others are the defaults of the library.
        library_class: The nearest library class, which decides which settings a node has.
        look: Returns the methods of a class on which all this depends.
        found: The result of ``look`` when this was decided. It shows whether a method was replaced since then.
        names: The attributes by which a node can have hooks of its own.
        facts: The cache of `engine.facts`, which is valid as long as this object is.
    """

    prep: str
    exec: str
    fallback: str
    post: str
    exec_takes_shared: bool
    fallback_takes_shared: bool
    exec_is_async: bool
    fallback_is_async: bool
    own: frozenset[str]
    library_class: type
    look: Callable[[type], tuple[object, ...]]
    found: tuple[object, ...]
    names: frozenset[str]
    facts: dict[Any, Any] = field(default_factory=dict)

    def __reduce__(self) -> Any:
        """Arrive as None with a class that is sent to another process by value, where it is read anew."""
        return type(None), ()


def hooks_of(node: Any) -> Hooks:
    """Return the hooks of a node. They are read again if a method was replaced on its class or set on the object."""
    hooks = hooks_of_class(type(node))
    return hooks if hooks.names.isdisjoint(node.__dict__) else _set_on_object(node, hooks)


def hooks_of_class(cls: type) -> Hooks:
    """Return the hooks of a class. They are read again if a method was replaced on it."""
    hooks: Hooks | None = cls.__dict__.get("_hooks")
    if hooks is None or hooks.found != hooks.look(cls):
        hooks = read_hooks(cls, hooks)
        cls._hooks = hooks  # type: ignore[attr-defined]
    return hooks


def read_hooks(cls: type, before: Hooks | None = None) -> Hooks:
    """Decide the hooks of a class.

    Args:
        cls: The class.
        before: Its hooks before a method was replaced, for a replacement such as a ``Mock``, which has no signature.

    Raises:
        SignatureError: A hook cannot be called with the arguments that it gets, its signature does not say whether it
            takes ``shared``, or one class defines two methods for the same role.
    """
    dialect: Dialect = cls._dialect  # type: ignore[attr-defined]
    decided: dict[str, Any] = {role: _nearest(cls, getattr(dialect, role)) for role in ROLES}
    own = frozenset(role for role in ROLES if not is_library_class(_owner(cls, decided[role])))
    for role in ROLES:
        name = decided[role]
        if role in own and role != "prep":
            _refuse_generator(cls, name, role, getattr(cls, name))
        if role in ("exec", "fallback"):
            decided[f"{role}_takes_shared"] = _takes_shared(
                cls, name, role, getattr(before, f"{role}_takes_shared", None)
            )
            decided[f"{role}_is_async"] = inspect.iscoroutinefunction(getattr(cls, name))
        elif role in own:
            _check_count(cls, name, role)
    look = look_in(cls)
    return Hooks(
        **decided,
        own=own,
        library_class=next(base for base in cls.__mro__ if is_library_class(base)),
        look=look,
        found=look(cls),
        names=frozenset({*dialect.names(), *dialect.names_around()}),
    )


def look_in(cls: type, *settings: str) -> Callable[[type], tuple[object, ...]]:
    """Return a function that returns all methods of a class that decide how its nodes are called and copied.

    It also returns the values of ``settings``. It runs once for each class and run. If possible it is one call in C,
    which takes 0.2 us in place of 1 us.
    """
    dialect: Dialect = cls._dialect  # type: ignore[attr-defined]
    look: Callable[[type], tuple[object, ...]] = attrgetter(*dialect.names(), "__copy__", "__setattr__", *settings)
    around = sorted(dialect.names_around())
    if not around:
        return look
    return lambda cls: (*look(cls), *(vars(base).get(name) for base in cls.__mro__ for name in around))


def _nearest(cls: type, names: tuple[str, ...]) -> str:
    """Return the name whose definition is nearest in the method resolution order; the preferred one within a class."""
    base = next(base for base in cls.__mro__ if not base.__dict__.keys().isdisjoint(names))
    here = [name for name in names if name in base.__dict__]
    if {"exec_fallback", "process_after_fail"} <= set(here) and not is_library_class(base):
        raise SignatureError(
            f"{base.__qualname__} defines both exec_fallback and process_after_fail, which are the same hook; keep one."
        )
    return here[0]


def _owner(cls: type, name: str) -> type:
    return next(base for base in cls.__mro__ if name in base.__dict__)


def is_library_class(cls: type) -> bool:
    """Return whether a class is one of the library's own: its hooks are the defaults."""
    return "_library_class" in cls.__dict__


def _check_count(cls: type, name: str, role: str) -> None:
    owner, args = _owner(cls, name), _ARGUMENTS[role]
    signature = signature_of_method(owner, name)
    if signature is not None and not signature.accepts(len(args)):
        raise SignatureError(
            f"{owner.__qualname__}.{name}{signature.text} cannot be called as {role}; "
            f"write def {name}({', '.join(('self', *args))})."
        )


def _takes_shared(cls: type, name: str, role: str, before: bool | None) -> bool:
    """Return whether a hook takes ``shared`` before its other arguments. ``before``: whether it did until now."""
    unclear = cls._dialect.unclear_takes_shared  # type: ignore[attr-defined]
    nearest: Signature | None = None
    for base in cls.__mro__:
        if name not in base.__dict__ or is_library_class(base):
            continue
        signature = signature_of_method(base, name)
        nearest = nearest or signature
        decided = takes_shared(signature, len(_ARGUMENTS[role]), unclear)
        if decided is None:
            if signature is not None and not signature.has_star:
                raise SignatureError(
                    f"{base.__qualname__}.{name}{signature.text} cannot be called; {_advice(name, role)}."
                )
            if before is not None:
                return before
            continue
        if decided and base is cls and signature is not None and not means_shared(signature.first):
            warn(
                f"{base.__qualname__}.{name}{signature.text}: the first argument {quoted(signature.first)} gets "
                "shared. Rename it to shared. If you wanted prep's result, use one parameter for it: "
                f"{_advice(name, role)}."
            )
        return decided
    if nearest is None or unclear is not None:  # a default of the library accepts any arguments
        return bool(unclear)
    raise SignatureError(
        f"{_owner(cls, name).__qualname__}.{name}{nearest.text} does not say whether it takes shared; "
        f"{_advice(name, role)}."
    )


def _refuse_generator(cls: type, name: str, role: str, method: Any) -> None:
    """Refuse a hook that yields, since calling it runs nothing.

    A generator is allowed as ``exec`` of a `BatchFlow`, whose elements are read, and of a PocketFlow node.

    Raises:
        SignatureError: Says what to write.
    """
    if role != "post" and (cls._kind == "batch_flow" or cls._dialect.any_action):  # type: ignore[attr-defined]
        return
    written = method
    while type(written) is FunctionType and "__wrapped__" in vars(written):
        written = vars(written)["__wrapped__"]
    if type(written) is FunctionType and written.__code__.co_flags & (
        inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
    ):
        raise SignatureError(
            f"{cls.__qualname__}.{name} is a generator, so a call of it runs nothing; collect the parts and return "
            'them, as in return "".join(parts). To pass on a stream, return a generator that another function creates.'
        )


def _advice(name: str, role: str) -> str:
    args = ", ".join(_ARGUMENTS[role])
    return f"write def {name}(self, {args}) or def {name}(self, shared, {args})"


def _set_on_object(node: Any, hooks: Hooks) -> Hooks:
    """Return the hooks of a node with those set on the object. An unclear signature counts as that of the class."""
    dialect: Dialect = type(node)._dialect
    changes: dict[str, Any] = {}
    for role in ROLES:
        name = next((name for name in getattr(dialect, role) if name in node.__dict__), None)
        if name is None:
            continue
        method = node.__dict__[name]
        changes[role] = name
        if role != "prep":
            _refuse_generator(type(node), name, role, method)
        if role in ("exec", "fallback"):
            signature = signature_of(method)
            decided = takes_shared(signature, len(_ARGUMENTS[role]), dialect.unclear_takes_shared)
            if decided is None and signature is not None and not signature.has_star:
                args = ", ".join(_ARGUMENTS[role])
                raise SignatureError(
                    f"{type(node).__qualname__}: {name}{signature.text} cannot be called; set on an object, "
                    f"it must take ({args}) or (shared, {args})."
                )
            if decided is not None:
                changes[f"{role}_takes_shared"] = decided
            changes[f"{role}_is_async"] = inspect.iscoroutinefunction(method)
    return replace(hooks, **changes, own=hooks.own.union(set(ROLES) & changes.keys()), facts={})
