"""What a node is: three hooks, the edges that leave it, and how its ``exec`` is to be called."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import wraps
from typing import Any, Self, TypeVar

from .api import NodeMethods
from .copies import deep_copied, plain_copy, reduced
from .definitions import Definition, define
from .errors import SettingError, SignatureError, WiringTypeError, a_type, warn
from .hooks import Dialect, Hooks, read_hooks
from .settings import SETTINGS
from .text import class_name, plain_text, quoted, shown

__all__ = ["BaseNode", "BatchNode", "Node"]

N = TypeVar("N", bound="BaseNode | None")

# The attempt that the running call is at, from 0. A context variable, so that calls that run side by side on one node
# do not count each other's attempts.
ATTEMPT: ContextVar[int] = ContextVar("llmflow_nb_attempt", default=0)


class BaseNode(NodeMethods):
    """What nodes and flows have in common: hooks, params and edges."""

    _library_class = True
    _kind = "node"
    _dialect = Dialect()
    _hooks: Hooks
    _definition: Definition | None = None

    name: str | None = None
    grace: float = 5.0
    """Seconds that calls in flight get to finish after another one failed; their results are kept.

    Read from the node or flow that is run, for the whole run.
    """

    params: Mapping[str, Any]
    successors: dict[str, "BaseNode | None"]
    """The target of each action. None: the flow ends there on purpose."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Give the node its edges and params here, so that a subclass may forget ``super().__init__()``."""
        node = super().__new__(cls)
        node.__dict__.update(successors={}, params={})
        if hasattr(cls, "__pydantic_validator__"):
            _keep_attributes(cls)
        return node

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Decide how the hooks of the new class are called, and refuse those that cannot be called.

        Raises:
            SignatureError: Names the method, its class, and what to write instead.
        """
        if any(base.__name__ == "BaseModel" and base.__module__.startswith("pydantic.") for base in cls.__mro__):
            raise SignatureError(
                f"{cls.__qualname__} inherits from pydantic's BaseModel, and a node cannot be a model too. Decorate "
                "the node with pydantic.dataclasses.dataclass, or keep a model in an attribute of it."
            )
        super().__init_subclass__(**kwargs)
        cls._hooks = read_hooks(cls)
        cls._definition = define(cls)

    def prep(self, shared: Any) -> Any:
        """Read what ``exec`` needs from ``shared``. Runs in the caller's thread. Default: None."""

    def exec(self, *args: Any) -> Any:
        """Do the work: ``exec(self, prep_res)`` or ``exec(self, shared, prep_res)``. Default: None."""

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Write to ``shared`` and return the action that picks the next edge. None and "" mean "default"."""

    def exec_fallback(self, *args: Any) -> Any:
        """Answer in place of an ``exec`` that failed its last attempt. Default: raise that error.

        Write it as ``exec_fallback(self, prep_res, exc)`` or ``exec_fallback(self, shared, prep_res, exc)``.
        """
        raise args[-1]

    def process_after_fail(self, *args: Any) -> Any:
        """The same hook under the name of PocketFlow's first version."""
        raise args[-1]

    def __copy__(self) -> Self:
        """Copy shallowly, as for every visit. What the class does for pickling does not count."""
        twin: Self = plain_copy(self)
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy deeply, with all nodes that this one leads to, however many they are."""
        twin: Self = deep_copied(self, memo)
        return twin

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle with all nodes that this one leads to, however many they are."""
        return reduced(self, protocol)

    def __getstate__(self) -> Any:
        """Leave the record of the latest run behind: it belongs to this object, and may hold what cannot be copied."""
        state = object.__getstate__(self)
        if isinstance(state, dict):
            return {name: value for name, value in state.items() if name != "last_run"}
        return state

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Set the node's own params. A flow replaces them by its own during a run."""
        self.params = params

    def next(self, node: N, action: str = "default") -> N:
        """Add the edge that is followed when ``post`` returns ``action``, and return its target.

        Args:
            node: The node or flow that comes next. None: the flow ends here, and is meant to.
            action: The action that chooses this edge.

        Raises:
            WiringTypeError: ``node`` is neither a node nor None, or ``action`` is no non-empty string.
        """
        if not isinstance(action, str) or not action:
            raise WiringTypeError(f"Action must be a string that is not empty, not {quoted(action)}.")
        action = plain_text(action)  # of an Enum of strings, whose text would be "Go.DONE"
        edge = f"{self!r} >>" if action == "default" else f"{self!r} - {quoted(action)} >>"
        if node is not None:
            check_node(node, f"{edge} needs a node or a flow (or None for the end) as its target")
        known = self.successors.get(action, node)
        if known is not node:
            was, now = (shown(label(target)) if target is not None else "the end" for target in (known, node))
            now = f"another {now}" if was == now else now
            text = f"Overwriting successor for action '{shown(action)}' of {shown(label(self))}: was {was}, is {now}"
            self.__dict__["overwritten"] = (*self.__dict__.get("overwritten", ()), text)
            warn(text)
        self.successors[action] = node
        return node

    def add_successor(self, node: N, action: str = "default") -> N:
        """The same as `next`, under the name of PocketFlow's first version."""
        return self.next(node, action)

    def __rshift__(self, node: N) -> N:
        """``a >> b``: follow this edge on the action "default". ``a >> None``: end there."""
        return self.next(node)

    def __rrshift__(self, other: object) -> None:
        """``A >> b``: refuse what has no edges, such as a class where ``()`` was forgotten."""
        check_node(other, f">> {self!r} needs a node or a flow before it")

    def __sub__(self, action: str) -> "Edge":
        """``a - "retry" >> b``: follow this edge on the action "retry". ``a - "stop" >> None``: end there."""
        if not isinstance(action, str):
            raise WiringTypeError(f"Action must be a string, not {a_type(action)}: {self!r} - {quoted(action)}")
        return Edge(self, action)

    def __repr__(self) -> str:
        """Return the class, and the name where there is one."""
        return f"<{shown(class_name(self))}{f' {quoted(self.name)}' if isinstance(self.name, str) else ''}>"


def _keep_attributes(cls: type) -> None:
    """Have the ``__init__`` of a pydantic dataclass, which replaces the node's ``__dict__``, keep what was there."""
    owner = next(base for base in cls.__mro__ if "__pydantic_validator__" in vars(base))
    init: Any = owner.__init__  # type: ignore[misc]
    if hasattr(init, "keeps_attributes"):
        return

    @wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        before = dict(self.__dict__)
        init(self, *args, **kwargs)
        for name, value in before.items():
            self.__dict__.setdefault(name, value)

    __init__.keeps_attributes = True  # type: ignore[attr-defined]
    owner.__init__ = __init__  # type: ignore[misc]


class Edge:
    """The left half of ``a - "action" >> b``."""

    __slots__ = ("action", "source")

    def __init__(self, source: BaseNode, action: str) -> None:
        self.source = source
        self.action = action

    def __repr__(self) -> str:
        return f"<{self.source!r} - {quoted(self.action)}, no edge yet: write >> target after it>"

    def __rshift__(self, node: N) -> N:
        return self.source.next(node, self.action)


class _CurRetry:
    """``node.cur_retry``. Not a property: PocketFlow programs assign the attribute."""

    def __get__(self, node: object, owner: type) -> int:
        return ATTEMPT.get()


class Node(BaseNode):
    """One step of a flow: ``prep`` reads ``shared``, ``exec`` does the work, ``post`` writes and chooses the way on.

    Every hook may be ``def`` or ``async def``. A node is copied (shallowly) for every visit; the hooks of one visit
    share the copy, so ``self.x`` set in ``prep`` is there in ``post``, and gone at the next visit.

    Args:
        max_retries: Attempts of ``exec`` in all: 1 tries once. Only an ``Exception`` is tried again.
        wait: Seconds between attempts (a number or a ``timedelta``), or a function that takes the number of the attempt
            that failed (1 for the first) and returns them. If the exception has a ``retry_after`` of more seconds, as
            those of `call_llm` have where an endpoint says so, the wait is that long (seconds, a date, or either as a
            text); above 120 seconds there is no further attempt.
        name: What to show. Default: the class name.
        timeout: Seconds that one attempt may take. None: no limit. A blocking ``exec`` then runs in a thread.
        limiter: A `Limiter` that this node shares with others.
        volatile: Whether ``exec`` may come to something else for the same input, such as the time, or a random draft.
            A stepper then calls it each time.

    Raises:
        SettingError: A value that makes no sense, such as ``max_retries=0``.
    """

    _library_class = True

    max_retries: int = 1
    wait: float | Callable[[int], float] = 0
    timeout: float | None = None
    limiter: Any = None
    volatile: bool = False
    cur_retry = _CurRetry()
    """The attempt that the running call is at, 0 for the first. In the fallback and in ``post``: the last one."""

    def __init__(
        self,
        max_retries: int = 1,
        wait: float | Callable[[int], float] = 0,
        *,
        name: str | None = None,
        timeout: float | None = None,
        limiter: Any = None,
        volatile: bool = False,
    ) -> None:
        """Keep the settings, refusing nonsense at once."""
        keep_settings(self, max_retries=max_retries, wait=wait, name=name, timeout=timeout, limiter=limiter)
        keep_settings(self, volatile=volatile)


class BatchNode(Node):
    """A node whose ``prep`` returns many items and whose ``exec`` is called once for each of them.

    ``prep`` returns any iterable; it is read lazily, once. A ``DataFrame`` gives its rows as dicts. ``post`` gets the
    list of results, in the order of the items. Retries and the fallback apply to each item on its own.

    Args:
        max_retries: As in `Node`, for each item.
        wait: As in `Node`.
        max_concurrency: Calls of ``exec`` in flight at once. 1: one after the other, in the caller's thread. None: no
            bound. A blocking ``exec`` runs in threads, an ``async def exec`` as tasks.
        on_error: "raise" the first error, or "keep" going: a failed item's result is None, and the record says why. A
            batch of which not one item came through is an error all the same (`AllFailedError`).
        keep_items: False lets go of the items of a generator as they are done, for bounded memory.
        name: As in `Node`.
        timeout: As in `Node`, for each item.
        limiter: As in `Node`.
        volatile: As in `Node`.

    Raises:
        SettingError: A value that makes no sense, such as ``max_concurrency=0``.
    """

    _library_class = True
    _kind = "batch_node"

    max_concurrency: int | None = 1
    on_error: str = "raise"
    keep_items: bool = True

    def __init__(
        self,
        max_retries: int = 1,
        wait: float | Callable[[int], float] = 0,
        *,
        max_concurrency: int | None = 1,
        on_error: str = "raise",
        keep_items: bool = True,
        name: str | None = None,
        timeout: float | None = None,
        limiter: Any = None,
        volatile: bool = False,
    ) -> None:
        """Keep the settings, refusing nonsense at once."""
        super().__init__(max_retries, wait, name=name, timeout=timeout, limiter=limiter, volatile=volatile)
        keep_settings(self, max_concurrency=max_concurrency, on_error=on_error, keep_items=keep_items)


def kind_of(node: BaseNode) -> str:
    """Return "node", "batch_node", "flow" or "batch_flow".

    Read off the class rather than asked with ``isinstance``: a node keeps its class when the package is reloaded.
    """
    return type(node)._kind


def check_node(node: object, need: str) -> None:
    """Refuse what is no node.

    Raises:
        WiringTypeError: What was needed, and what was found instead.
    """
    if getattr(type(node), "_kind", None) is not None:
        return
    found = f"the class {node.__name__}" if isinstance(node, type) else a_type(node)
    raise WiringTypeError(
        f"{need}, not {found}{'; add ()' if isinstance(node, type) and hasattr(node, '_kind') else ''}."
    )


def label(node: BaseNode) -> str:
    """Return what to call a node: its name, else the name of its class."""
    return node.name if isinstance(node.name, str) and node.name else type(node).__name__


def keep_settings(node: BaseNode, **settings: Any) -> None:
    """Store settings as attributes, having checked each.

    One that is as the class has it anyway stays there: a node with few attributes is cheaper to copy. A class may set
    its own, ``max_concurrency = 8`` in its body; an argument other than the library's default wins over that.

    Raises:
        SettingError: Names the class, the setting, and what it may be.
    """
    for setting, given in settings.items():
        value = check_setting(node, setting, given)
        of_class = getattr(type(node), setting)
        if value is of_class or (setting == "name" and value is None):
            continue
        library_class = next(base for base in type(node).__mro__ if "_library_class" in base.__dict__)
        default = getattr(library_class, setting)
        if of_class is default or value != default:
            setattr(node, setting, value)
        elif not isinstance(of_class, property):  # which is read at the run's start
            check_setting(node, setting, getattr(node, setting))


def check_setting(node: BaseNode, setting: str, value: Any) -> Any:
    """Return the plain Python value of a setting: an int for a number of numpy, seconds for a ``timedelta``.

    Raises:
        SettingError: It makes no sense. Names the class, the setting, and what it may be.
    """
    plain, may_be = SETTINGS[setting]
    try:
        return plain(value)
    except ValueError:
        pass
    raise SettingError(f"{class_name(node)}({setting}={quoted(value)}): {setting} must be {may_be}.")
