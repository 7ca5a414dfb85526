"""Which hooks a class has, and how each of them wants to be called: decided once per class.

``exec`` and the fallback may be written in two ways, as in the two epochs of PocketFlow::

    exec(self, prep_res)            exec(self, shared, prep_res)
    exec_fallback(self, prep_res, exc)    exec_fallback(self, shared, prep_res, exc)

Each method is decided on its own, by the number of positional parameters. Where that does not tell (``*args``, an
optional second parameter), the name of the first parameter does, else the nearest base class that is clear, else what
the dialect says; if it says nothing, the class is refused.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter
from types import FunctionType
from typing import Any, NamedTuple

from .errors import SignatureError, warn
from .signatures import Signature, means_shared, signature_of, signature_of_method, takes_shared
from .text import quoted

ROLES = ("prep", "exec", "fallback", "post")
RUN, EXEC, ITEM = 0, 1, 2
"""The layers around the hooks: a whole visit; its exec (of a flow: its walk) with all items; one item of a batch."""

BASE_METHODS: set[object] = set()
"""The library's own methods of these layers."""


class Layer(NamedTuple):
    """A method around the hooks that a program may override: PocketFlow's ``_run``, ``_exec`` and ``_orch``."""

    level: int
    method: str
    called_by: str
    is_async: bool = False


@dataclass(frozen=True, slots=True, eq=False)  # each generated method takes time at import
class Dialect:
    """How a family of node classes spells its hooks. For each role: the names, the preferred one first.

    Attributes:
        unclear_takes_shared: What a signature that cannot be decided means; None refuses it.
        any_action: Let ``post`` return any hashable value, as PocketFlow does, not only ``str`` and None.
        hooks_overlap: Whether ``prep`` and ``post`` of walks that run side by side are awaited side by side too.
        settings: The attributes of a node that the engine obeys. A class that came from elsewhere may use ``timeout``
            or ``limiter`` for something of its own.
        layers: By kind of node, the methods around the hooks that a program may override, the outermost first: the
            layer (`RUN`, `EXEC`, `ITEM`), the name of the method, and the name of the method that the engine calls.
        router: The method of a flow that chooses the next node, where a program may override it; else "".
    """

    prep: tuple[str, ...] = ("prep",)
    exec: tuple[str, ...] = ("exec",)
    fallback: tuple[str, ...] = ("exec_fallback", "process_after_fail")
    post: tuple[str, ...] = ("post",)
    unclear_takes_shared: bool | None = None
    any_action: bool = False
    hooks_overlap: bool = False
    settings: frozenset[str] = frozenset(
        {
            "max_retries",
            "wait",
            "timeout",
            "limiter",
            "max_concurrency",
            "on_error",
            "keep_items",
            "max_steps",
            "strict",
            "item_key",
        }
    )
    layers: Mapping[str, tuple["Layer", ...]] = field(default_factory=dict)
    router: str = ""

    def names(self) -> tuple[str, ...]:
        """Every name that is a hook in this dialect."""
        return self.prep + self.exec + self.fallback + self.post

    def names_around(self) -> set[str]:
        """Every name of a method around the hooks that a program may override."""
        return {layer.method for layers in self.layers.values() for layer in layers} | ({self.router} - {""})


@dataclass(frozen=True, slots=True, eq=False)  # each generated method takes time at import
class Hooks:
    """The hooks of one class (or of one node, where hooks were set on the object itself).

    Attributes:
        prep, exec, fallback, post: The names of the methods to call.
        exec_takes_shared, fallback_takes_shared: Whether ``shared`` comes first.
        exec_is_async, fallback_is_async: Whether the method is ``async def``.
        own: The roles that a user's class defines; the others are the defaults of the library.
        library_class: The nearest of the library's own classes, which says which settings a node has.
        look: Returns the methods of a class that all of this depends on.
        found: What it returned when this was decided, to notice that a method was replaced.
        names: The attributes by which a node may have hooks of its own.
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


def hooks_of(node: Any) -> Hooks:
    """Return the hooks of a node, looking again if a method was replaced on its class or set on the object."""
    hooks = hooks_of_class(type(node))
    return hooks if hooks.names.isdisjoint(node.__dict__) else _set_on_object(node, hooks)


def hooks_of_class(cls: type) -> Hooks:
    """Return the hooks of a class, looking again if a method was replaced on it."""
    hooks: Hooks | None = cls.__dict__.get("_hooks")
    if hooks is None or hooks.found != hooks.look(cls):
        hooks = read_hooks(cls, hooks)
        cls._hooks = hooks  # type: ignore[attr-defined]
    return hooks


def overridden(node: Any) -> list[Layer]:
    """Return the layers of a node that a program overrides: in a class body, a mixin, a patched class or on the object.

    Free for the dialects that have no layers.
    """
    cls = type(node)
    return [layer for layer in cls._dialect.layers.get(cls._kind, ()) if _is_overridden(node, layer)]


def router_of(node: Any) -> Callable[[Any, Any], Any] | None:
    """Return the method of a flow that chooses the next node, if a program overrides it."""
    name = type(node)._dialect.router
    if not name or (getattr(type(node), name, None) in BASE_METHODS and name not in node.__dict__):
        return None
    router: Callable[[Any, Any], Any] | None = getattr(node, name, None)
    return router


def _is_overridden(node: Any, layer: Layer) -> bool:
    """Whether another method than the library's is found first.

    Of the items of a batch it is looked for behind the library's batch class, whose method calls it by ``super()``.
    """
    name = layer.method
    if layer.level != ITEM:
        return name in node.__dict__ or getattr(type(node), name) not in BASE_METHODS
    mro = type(node).__mro__
    behind = mro[next(i for i, cls in enumerate(mro) if is_batch_base(cls)) :]
    found = next(vars(cls)[name] for cls in behind if name in vars(cls) and not is_batch_base(cls))
    return found not in BASE_METHODS


def is_batch_base(cls: type) -> bool:
    """Whether a class is a batch class of the library that has an ``_exec`` for all items."""
    own = vars(cls)
    return "_library_class" in own and "_exec" in own and getattr(cls, "_kind", "") == "batch_node"


def read_hooks(cls: type, before: Hooks | None = None) -> Hooks:
    """Decide the hooks of a class.

    Args:
        cls: The class.
        before: Its hooks before a method was replaced: by a ``Mock``, say, whose signature tells nothing.

    Raises:
        SignatureError: A hook takes a number of arguments with which it cannot be called, its signature does not tell
            whether it wants ``shared``, or one class defines two methods for the same role.
    """
    dialect: Dialect = cls._dialect  # type: ignore[attr-defined]
    names = {role: _nearest(cls, getattr(dialect, role)) for role in ROLES}
    own = frozenset(role for role in ROLES if not is_library_class(_owner(cls, names[role])))
    _check_count(cls, names["prep"], "prep", 1, "prep(self, shared)")
    _check_count(cls, names["post"], "post", 3, "post(self, shared, prep_res, exec_res)")
    for role in own & {"exec", "fallback", "post"}:
        _refuse_generator(cls, names[role], role, getattr(cls, names[role]))
    look = _look_in(cls)
    return Hooks(
        prep=names["prep"],
        exec=names["exec"],
        fallback=names["fallback"],
        post=names["post"],
        exec_takes_shared=_takes_shared(
            cls, names["exec"], 1, ("prep_res",), dialect, before.exec_takes_shared if before else None
        ),
        fallback_takes_shared=_takes_shared(
            cls, names["fallback"], 2, ("prep_res", "exc"), dialect, before.fallback_takes_shared if before else None
        ),
        exec_is_async=inspect.iscoroutinefunction(getattr(cls, names["exec"])),
        fallback_is_async=inspect.iscoroutinefunction(getattr(cls, names["fallback"])),
        own=own,
        library_class=next(base for base in cls.__mro__ if is_library_class(base)),
        look=look,
        found=look(cls),
        names=frozenset({*dialect.names(), *dialect.names_around()}),
    )


def _look_in(cls: type) -> Callable[[type], tuple[object, ...]]:
    """Return a function that reads off a class all methods that decide how its nodes are called and copied.

    It runs once for each node and run, so it is one call in C where it can be: 0.2 us in place of 1 us.
    """
    dialect: Dialect = cls._dialect  # type: ignore[attr-defined]
    look: Callable[[type], tuple[object, ...]] = attrgetter(*dialect.names(), "__copy__", "__setattr__")
    around = sorted(dialect.names_around())
    if not around:
        return look
    return lambda cls: (*look(cls), *(vars(base).get(name) for base in cls.__mro__ for name in around))


def _nearest(cls: type, names: tuple[str, ...]) -> str:
    """The name whose definition is nearest in the method resolution order; the preferred one within a class."""
    base = next(base for base in cls.__mro__ if not base.__dict__.keys().isdisjoint(names))  # the library has them all
    here = [name for name in names if name in base.__dict__]
    if {"exec_fallback", "process_after_fail"} <= set(here) and not is_library_class(base):
        raise SignatureError(
            f"{base.__qualname__} defines both exec_fallback and process_after_fail, which are the same hook; keep one."
        )
    return here[0]


def _owner(cls: type, name: str) -> type:
    return next(base for base in cls.__mro__ if name in base.__dict__)


def is_library_class(cls: type) -> bool:
    """Whether a class is one of the library's own: its hooks are defaults, its settings those of the engine."""
    return "_library_class" in cls.__dict__


def _check_count(cls: type, name: str, role: str, count: int, want: str) -> None:
    owner = _owner(cls, name)
    if is_library_class(owner):
        return
    signature = signature_of_method(owner, name)
    if signature is None or (signature.required <= count and (signature.star or signature.total >= count)):
        return
    raise SignatureError(
        f"{owner.__qualname__}.{name}{signature.text} cannot be called as {role}; "
        f"write def {want.replace(role, name, 1)}."
    )


def _takes_shared(
    cls: type, name: str, count: int, args: tuple[str, ...], dialect: Dialect, before: bool | None
) -> bool:
    """Whether the hook wants ``shared`` before its ``count`` other arguments. ``before``: whether it did until now."""
    nearest: Signature | None = None
    for base in cls.__mro__:
        if name not in base.__dict__ or is_library_class(base):
            continue
        signature = signature_of_method(base, name)
        nearest = nearest or signature
        decided = takes_shared(signature, count, dialect.unclear_takes_shared)
        if decided is None and signature is not None and not signature.star:
            raise SignatureError(f"{base.__qualname__}.{name}{signature.text} cannot be called; {_advice(name, args)}.")
        if decided is None and before is not None:
            return before
        if decided is not None:
            if decided and base is cls and signature is not None and not means_shared(signature.first):
                warn(
                    f"{base.__qualname__}.{name}{signature.text} is given shared as {quoted(signature.first)}. "
                    f"If that is meant, call it shared; if not, what prep returned is one argument: "
                    f"{_advice(name, args)}."
                )
            return decided
    if nearest is None or dialect.unclear_takes_shared is not None:  # a default of the library, which takes anything
        return bool(dialect.unclear_takes_shared)
    owner = _owner(cls, name)
    raise SignatureError(
        f"{owner.__qualname__}.{name}{nearest.text} does not tell whether it wants shared; {_advice(name, args)}."
    )


def _refuse_generator(cls: type, name: str, role: str, method: Any) -> None:
    """Refuse a hook that yields: calling it runs nothing.

    Not ``exec`` of a `BatchFlow`, whose elements are read, nor that of a PocketFlow node, where ``post`` may read it.

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
            f"{cls.__qualname__}.{name} yields, so calling it would run nothing; collect the parts and return them, as "
            'in return "".join(parts). To hand on a stream, return a generator that another function makes.'
        )


def _advice(name: str, args: tuple[str, ...]) -> str:
    plain = ", ".join(("self", *args))
    with_shared = ", ".join(("self", "shared", *args))
    return f"write def {name}({plain}) or def {name}({with_shared})"


def _set_on_object(node: Any, hooks: Hooks) -> Hooks:
    """Take hooks that were set on the object: their own signature where it is clear, else the class's."""
    dialect: Dialect = type(node)._dialect
    changes: dict[str, Any] = {}
    for name in dialect.names():
        if name not in node.__dict__:
            continue
        role = next(role for role in ROLES if name in getattr(dialect, role))
        if role in changes:  # the preferred name came first
            continue
        method = node.__dict__[name]
        changes[role] = name
        if role != "prep":
            _refuse_generator(type(node), name, role, method)
        if role in ("exec", "fallback"):
            signature = signature_of(method, drop=0)
            decided = takes_shared(signature, 1 if role == "exec" else 2, dialect.unclear_takes_shared)
            if decided is None and signature is not None and not signature.star:
                args = ("prep_res",) if role == "exec" else ("prep_res", "exc")
                raise SignatureError(
                    f"{type(node).__qualname__}: {name}{signature.text} cannot be called; set on an object, "
                    f"it must take ({', '.join(args)}) or ({', '.join(('shared', *args))})."
                )
            if decided is not None:
                changes[f"{role}_takes_shared"] = decided
            changes[f"{role}_is_async"] = inspect.iscoroutinefunction(method)
    return replace(hooks, **changes, own=hooks.own | {role for role in ROLES if role in changes}, facts={})
