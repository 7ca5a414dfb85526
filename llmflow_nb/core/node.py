"""What a node is: its hooks, its edges to other nodes, and the settings of its ``exec``."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import wraps
from typing import Any, NamedTuple, Self, TypeVar

from .api.nodes import NodeMethods
from .copies import deep_copied, plain_copy, reduced
from .definitions import Definition, define
from .errors import SignatureError, WiringTypeError, a_type, warn
from .hooks import Dialect, Hooks, read_hooks
from .settings import keep_settings
from .text import class_name, plain_text, quoted, shown

N = TypeVar("N", bound="BaseNode | None")

ATTEMPT: ContextVar[int] = ContextVar("llmflow_nb_attempt", default=0)
"""The current attempt of the running call, from 0. Concurrent calls of one node have an attempt each."""


class BaseNode(NodeMethods):
    """The common base of nodes and flows: hooks, params and edges."""

    _library_class = True
    _kind = "node"
    _dialect = Dialect()
    _hooks: Hooks
    _definition: Definition | None = None

    name: str | None = None
    grace: float = 5.0
    """Seconds that calls in flight may take to finish after another call failed. Their results are kept.

    The value of the node or flow that is run applies to the whole run.
    """

    overwritten: tuple[str, ...] = ()
    """The warnings of `next` about edges of this node that were wired to another target later."""

    params: Mapping[str, Any]
    successors: dict[str, "BaseNode | None"]
    """The target of each action. None: the flow ends there, without a warning."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Create the edges and params here, so that a node works without ``super().__init__()``."""
        node = super().__new__(cls)
        node.__dict__.update(successors={}, params={})
        if hasattr(cls, "__pydantic_validator__"):
            _keep_attributes(cls)
        return node

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Decide how the hooks of the new class are called.

        Raises:
            SignatureError: A hook cannot be called. The text names the method, its class, and what to write instead.
        """
        if any(base.__name__ == "BaseModel" and base.__module__.startswith("pydantic.") for base in cls.__mro__):
            raise SignatureError(
                f"{cls.__qualname__} inherits from pydantic's BaseModel, but a node cannot be a model. Decorate "
                "the node with pydantic.dataclasses.dataclass, or keep a model in an attribute of the node."
            )
        super().__init_subclass__(**kwargs)
        cls._hooks = read_hooks(cls)
        cls._definition = define(cls)

    def prep(self, shared: Any) -> Any:
        """Read from ``shared`` what ``exec`` needs, and return it. Runs in the caller's thread. Default: None."""

    def exec(self, *args: Any) -> Any:
        """Do the work and return its result. Default: None.

        Write it as ``exec(self, prep_res)`` or ``exec(self, shared, prep_res)``.
        """

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Write to ``shared``, and return the action that picks the next edge. None and "" mean "default"."""

    def exec_fallback(self, *args: Any) -> Any:
        """Return a result after the last attempt of ``exec`` has failed. Default: raise its error.

        Write it as ``exec_fallback(self, prep_res, exc)`` or ``exec_fallback(self, shared, prep_res, exc)``.
        """
        raise args[-1]

    def process_after_fail(self, *args: Any) -> Any:
        """Define `exec_fallback` under its name in PocketFlow's first version."""
        raise args[-1]

    def __copy__(self) -> Self:
        """Return a shallow copy, as for every visit. The pickling methods of the class are not used."""
        twin: Self = plain_copy(self)
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return a deep copy of this node and of all nodes that it leads to, in a graph of any size."""
        twin: Self = deep_copied(self, memo)
        return twin

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle this node and all nodes that it leads to, in a graph of any size."""
        return reduced(self, protocol)

    def __getstate__(self) -> Any:
        """Leave out the record of the latest run: it belongs to this object, and may contain what cannot be copied."""
        state = object.__getstate__(self)
        if isinstance(state, dict):
            return {name: value for name, value in state.items() if name != "last_run"}
        return state

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Set the node's own params. During a run, a flow replaces them with its own."""
        self.params = params

    def next(self, node: N, action: str = "default") -> N:
        """Add the edge that the run follows if ``post`` returns ``action``, and return its target.

        Args:
            node: The node or flow that comes next. None: the flow ends here, without a warning.
            action: The action that picks this edge.

        Raises:
            WiringTypeError: ``node`` is neither a node nor None, or ``action`` is not a non-empty string.
        """
        if not isinstance(action, str) or not action:
            raise WiringTypeError(f"Action must be a non-empty string, not {quoted(action)}.")
        action = plain_text(action)  # the value of a string Enum, whose text would be "Go.DONE"
        edge = f"{self!r} >>" if action == "default" else f"{self!r} - {quoted(action)} >>"
        if node is not None:
            check_node(node, f"{edge} needs a node or a flow (or None for the end) as its target")
        known = self.successors.get(action, node)
        if known is not node:
            was, now = (shown(label(target)) if target is not None else "the end" for target in (known, node))
            now = f"another {now}" if was == now else now
            text = f"Overwriting successor for action '{shown(action)}' of {shown(label(self))}: was {was}, is {now}"
            self.__dict__["overwritten"] = (*self.overwritten, text)
            warn(text)
        self.successors[action] = node
        return node

    def add_successor(self, node: N, action: str = "default") -> N:
        """Do the same as `next`, under its name in PocketFlow's first version."""
        return self.next(node, action)

    def __rshift__(self, node: N) -> N:
        """``a >> b``: follow this edge on the action "default". ``a >> None``: end there."""
        return self.next(node)

    def __rrshift__(self, other: object) -> None:
        """``A >> b``: refuse an ``A`` that is not a node, such as a class without ``()``."""
        check_node(other, f">> {self!r} needs a node or a flow before it")

    def __sub__(self, action: str) -> "Edge":
        """``a - "retry" >> b``: follow this edge on the action "retry". ``a - "stop" >> None``: end there."""
        if not isinstance(action, str):
            raise WiringTypeError(f"Action must be a string, not {a_type(action)}: {self!r} - {quoted(action)}")
        return Edge(self, action)

    def __repr__(self) -> str:
        """Return the class, and the name if there is one."""
        return f"<{shown(class_name(self))}{f' {quoted(self.name)}' if isinstance(self.name, str) else ''}>"


def _keep_attributes(cls: type) -> None:
    """Make the ``__init__`` of a pydantic dataclass keep the node's attributes: it replaces ``__dict__``."""
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


class Edge(NamedTuple):
    """The left half of ``a - "action" >> b``."""

    source: BaseNode
    action: str

    def __repr__(self) -> str:
        return f"<{self.source!r} - {quoted(self.action)}, no edge yet: write >> target after it>"

    def __rshift__(self, node: N) -> N:
        return self.source.next(node, self.action)


class _CurRetry:
    """``node.cur_retry``. Not a property: PocketFlow programs assign the attribute."""

    def __get__(self, node: object, owner: type) -> int:
        return ATTEMPT.get()


class Node(BaseNode):
    """One step of a flow: ``prep`` reads ``shared``, ``exec`` does the work, ``post`` writes and selects the next edge.

    Each hook may be ``def`` or ``async def``. Every visit works on a shallow copy of the node, which all its hooks use:
    ``post`` sees an attribute that ``prep`` has set, and the next visit does not.

    Args:
        max_retries: The maximum number of attempts of ``exec``. 1: no retry. Only an ``Exception`` is retried.
        wait: Seconds between attempts: a number, a ``timedelta``, or a function that takes the number of the failed
            attempt (1 for the first) and returns the seconds. If an exception has an attribute ``retry_after``
            (seconds, a date, or a str with one of these), the wait is at least that long. If it is longer than ``wait``
            and above 120 seconds, ``exec`` is not retried. `call_llm` sets ``retry_after`` if the endpoint asks for a
            wait.
        name: The name to show. Default: the class name.
        timeout: The maximum seconds for one attempt. None: no limit. With a timeout, a blocking ``exec`` runs in a
            thread.
        limiter: A `Limiter`, which several nodes can share.
        volatile: Whether ``exec`` can return different results for the same input, such as the time or a random draft.
            If True, steppers and journals never reuse its results.

    Raises:
        SettingError: A value is not valid, such as ``max_retries=0``.
    """

    _library_class = True

    max_retries: int = 1
    wait: float | Callable[[int], float] = 0
    timeout: float | None = None
    limiter: Any = None
    volatile: bool = False
    cur_retry = _CurRetry()
    """The current attempt, 0 for the first. In the fallback and in ``post``: the last attempt."""

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
        """Check and store the settings."""
        keep_settings(self, max_retries=max_retries, wait=wait, name=name, timeout=timeout, limiter=limiter)
        keep_settings(self, volatile=volatile)


class BatchNode(Node):
    """A node that calls ``exec`` once for each item that ``prep`` returns.

    ``prep`` returns any iterable, which is read lazily and once. A ``DataFrame`` yields its rows as dicts. ``post``
    gets the list of results, in the order of the items. Retries and the fallback apply to each item separately.

    Args:
        max_retries: As in `Node`, for each item.
        wait: As in `Node`.
        max_concurrency: The maximum number of calls of ``exec`` in flight. 1: one after the other, in the caller's
            thread. None: no limit. A blocking ``exec`` runs in threads, an ``async def exec`` as tasks.
        on_error: "raise" stops at the first error. "keep" continues: the result of a failed item is None, and the
            record has its error. If all items fail, `AllFailedError` is raised.
        keep_items: False discards each item of a generator when it is done, so that memory stays bounded.
        name: As in `Node`.
        timeout: As in `Node`, for each item.
        limiter: As in `Node`.
        volatile: As in `Node`.

    Raises:
        SettingError: A value is not valid, such as ``max_concurrency=0``.
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
        """Check and store the settings."""
        super().__init__(max_retries, wait, name=name, timeout=timeout, limiter=limiter, volatile=volatile)
        keep_settings(self, max_concurrency=max_concurrency, on_error=on_error, keep_items=keep_items)


def kind_of(node: BaseNode) -> str:
    """Return "node", "batch_node", "flow" or "batch_flow".

    An ``isinstance`` would fail after a reload of the package, when existing nodes keep their class.
    """
    return type(node)._kind


def check_node(node: object, need: str) -> None:
    """Refuse an object that is not a node.

    Raises:
        WiringTypeError: It names what was needed and what was found.
    """
    if hasattr(type(node), "_kind"):
        return
    if isinstance(node, type):
        found = f"the class {node.__name__}{'; add ()' if hasattr(node, '_kind') else ''}"
    else:
        found = a_type(node)
    raise WiringTypeError(f"{need}, not {found}.")


def label(node: BaseNode) -> str:
    """Return the name to show for a node: its own, or that of its class."""
    return node.name if isinstance(node.name, str) and node.name else type(node).__name__
