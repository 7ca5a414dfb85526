"""What the engine needs to know of a node, worked out once for a run and a path, so that a visit asks nothing twice."""

import copy
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..core.hooks import EXEC, ITEM, RUN, Layer, hooks_of, is_library_class, overridden, router_of
from ..core.node import BaseNode, check_setting, kind_of, label
from ..core.seconds import LONGEST
from ..core.walk import names_within, no_start, path_part
from .events import Event, Recorder, Subscriber
from .stop import Stop

if TYPE_CHECKING:
    from .batch import Batch
    from .calls import Call

__all__ = ["Answer", "Answers", "Plan", "Setup"]


class Plan:
    """One node at one place of a flow.

    Attributes:
        node: The user's own object, of which every visit gets a copy.
        cls: Its class, as it was when the plan was made.
        name: What it is called among its neighbours.
        path: Names from the outermost flow down, joined by "/".
        kind: "node", "batch_node", "flow" or "batch_flow".
        copies_plainly: Whether a copy is just a new object with the same attributes.
        inline: Whether ``exec`` may be called on the spot.
        direct: The same, of a plain node with plainly named hooks.
        is_flow: Whether it is a flow of either kind.
        hands_on: Whether it is a flow whose action is the last one in it.
        hooks_overlap: Whether its ``prep`` and ``post`` are awaited beside those of other walks.
        has_prep, has_post: Whether there is one to call, other than the default that does nothing.
        limit: Calls (or param sets) in flight at once; None for no bound.
        expands: Whether this is a `BatchFlow` with an ``exec`` of its own.
        next: The plan of the step that this one led to last; at first its own.
        children: For a flow: the plans of its steps, by ``id`` of the node.
        names: For a flow: what its steps are called, by ``id`` of the node.
        layer: The method of the user's, around the hooks, by which a visit is made here; None mostly. See `override`.
        inner: The plans of the same node behind a layer, by that layer.
        setup: Of a plan with a layer: that of the run.
        within: The outermost layer that counts.
        driven: Of a visit that the user's own object serves: what is kept of it.
        has_router: Whether it is a flow whose ``get_next_node`` is the user's.
    """

    __slots__ = (
        "any_action",
        "children",
        "cls",
        "copies_plainly",
        "direct",
        "driven",
        "exec_takes_shared",
        "expands",
        "hands_on",
        "has_post",
        "has_prep",
        "has_router",
        "hooks",
        "hooks_overlap",
        "inline",
        "inner",
        "is_flow",
        "item_key",
        "keep",
        "kind",
        "layer",
        "limit",
        "limiter",
        "max_steps",
        "name",
        "names",
        "next",
        "node",
        "on_error",
        "path",
        "plain_names",
        "setup",
        "strict",
        "timeout",
        "within",
    )

    def __init__(self, node: BaseNode, name: str, path: str, setup: "Setup", within: int = RUN) -> None:
        """Plan a node. ``within``: the outermost layer that counts; those further out are entered already."""
        self.node = node
        self.name = name
        self.path = path
        self.cls = type(node)
        self.kind = kind_of(node)
        dialect = self.cls._dialect
        library_class = next(base for base in self.cls.__mro__ if is_library_class(base))

        def setting(which: str, default: Any) -> Any:
            if not hasattr(library_class, which):  # not of this kind: what a node has under that name is its own affair
                return default
            if which not in dialect.settings:
                return getattr(library_class, which)
            value = getattr(node, which)
            return value if value is default else check_setting(node, which, value)

        self.hooks = hooks = hooks_of(node)
        self.plain_names = (hooks.prep, hooks.exec, hooks.post) == ("prep", "exec", "post")
        self.exec_takes_shared = hooks.exec_takes_shared
        self.any_action = dialect.any_action
        self.hooks_overlap = dialect.hooks_overlap
        self.copies_plainly = _copies_plainly(self.cls)
        self.limit = setting("max_concurrency", 1)
        timeout = setting("timeout", None)
        self.timeout = None if timeout is None else min(timeout, LONGEST)
        self.limiter = setting("limiter", None)
        self.on_error = setting("on_error", "raise")
        self.keep = setting("keep_items", True)
        self.strict = setting("strict", False)
        self.max_steps = setting("max_steps", None)
        self.item_key = setting("item_key", None)
        setting("max_retries", 1)
        setting("wait", 0)
        self.expands = self.kind == "batch_flow" and "exec" in hooks.own
        self.inline = (
            self.limit == 1
            and self.timeout is None
            and self.limiter is None
            and setup.executor is None
            and not setup.subscribers
            and setup.answers is None
            and not hooks.exec_is_async
        )
        self.direct = self.inline and self.kind == "node" and self.plain_names
        self.is_flow = self.kind in ("flow", "batch_flow")
        self.hands_on = self.kind == "flow" and "post" not in hooks.own
        self.has_prep = "prep" in hooks.own or self.is_flow
        self.has_post = "post" in hooks.own or self.is_flow
        self.within = within
        self.driven: Driven | None = None
        self.layer: Layer | None = None
        self.inner: dict[int, Plan] = {}
        self.setup: Setup | None = None
        self.has_router = False
        if dialect.layers:
            self._take_layers(within, setup)
        self.next = self
        self.children: dict[int, Plan] = {}
        self.names: dict[int, str] | None = None

    def _take_layers(self, within: int, setup: "Setup") -> None:
        """Have the user's override of PocketFlow's ``_run``, ``_exec`` or ``_orch`` called in place of the exec."""
        node, kind = self.node, self.kind
        self.has_router = self.is_flow and router_of(node) is not None
        layers = overridden(node)
        if within > ITEM and kind == "batch_node":  # the base of the innermost layer calls one item
            self.kind, self.limit = "node", 1
        layer = next((layer for layer in layers if layer.level >= within), None)
        if layer is None:
            return
        self.layer, self.setup, self.copies_plainly = layer, setup, False
        self.hooks = replace(
            self.hooks,
            exec=layer.called_by,
            exec_takes_shared=True,
            exec_is_async=layer.is_async,
            own=(self.hooks.own | {"exec"}) - {"fallback"},
        )
        self.plain_names, self.exec_takes_shared = False, True
        self.direct = self.expands = self.is_flow = self.hands_on = False
        if layer.level == RUN:
            self.hooks = replace(self.hooks, post="_hand_back")
            self.has_prep, self.has_post = False, True
        if layer.level == RUN or (layer.level == EXEC and kind != "batch_flow"):
            self.kind, self.limit = "node", 1
        elif kind == "batch_flow":
            self.kind = "batch_node"
        self.inline = self.limit == 1 and not layer.is_async

    def behind(self, level: int, setup: "Setup") -> "Plan":
        """Return the plan of this node with this layer, and those further out, entered already."""
        plan = self.inner.get(level)
        if plan is None:
            plan = self.inner[level] = Plan(self.node, self.name, self.path, setup, level + 1)
        return plan

    def serve(self, visit: Any, *, is_shared: bool = False) -> Any:
        """Have an object serve a visit, and return it: it is told so where a method of the user's makes the visit.

        Args:
            visit: The node, or a copy of it.
            is_shared: Whether another run may be using the same object; this plan then serves this visit only.
        """
        if self.layer is not None:
            assert self.setup is not None
            visit.__dict__[DRIVEN] = driven = Driven(self, visit, self.setup)
            self.driven = driven if is_shared else None
        return visit

    def driven_by(self, visit: Any, shared: Any = None) -> "Driven":
        """Return what is kept of a visit that a method of the user's makes: what that is called with for ``shared``."""
        driven: Driven = self.driven or visit.__dict__[DRIVEN]
        if shared is not None:
            driven.shared = shared
        return driven

    def child(self, node: BaseNode, start: BaseNode, setup: "Setup") -> "Plan":
        """Return the plan of a step of this flow, making it when it is first met."""
        if self.names is None or id(node) not in self.names:
            self.names = names_within(start)
        name = self.names.get(id(node)) or label(node)  # a hook may have rewired the flow while it runs
        plan = self.children[id(node)] = Plan(node, name, f"{self.path}/{path_part(name)}", setup)
        return plan

    def clone(self, params: Any) -> Any:
        """Return the copy of the node that serves one visit."""
        if not self.copies_plainly:
            twin = self.serve(copy.copy(self.node))
            twin.__dict__["params"] = params  # not by setattr, which the class may have closed
            return twin
        twin = object.__new__(self.cls)
        twin.__dict__ = {**self.node.__dict__, "params": params}
        return twin

    def require_start(self, flow: Any) -> BaseNode:
        """Return the start node of a flow.

        Raises:
            WiringError: There is none.
        """
        start: BaseNode | None = flow.start_node
        if start is None:
            raise no_start(flow, self.path)
        return start


class Driven:
    """What a visit keeps, as its attribute `DRIVEN`, while it is made by a method that overrides one of PocketFlow's.

    Attributes:
        plan: Of the outermost layer.
        visit: The copy of the node.
        setup: Of the run.
        shared: What the hooks read and write.
        calls: How many calls of the user's method are in progress.
        attempts: How many attempts of ``exec`` were made.
        status: "ok", or "fallback" when a fallback answered.
    """

    __slots__ = ("attempts", "calls", "plan", "setup", "shared", "status", "visit")

    def __init__(self, plan: Plan, visit: Any, setup: "Setup") -> None:
        self.plan = plan
        self.visit = visit
        self.setup = setup
        self.calls = 0
        self.shared: Any = None
        self.attempts = 0
        self.status = "ok"


DRIVEN = "_driven"


def _copies_plainly(cls: type) -> bool:
    """Whether ``copy.copy`` would do no more than make a new object with the same ``__dict__``.

    Asked because ``copy.copy`` costs 2.6 us a visit, and the same by hand 0.3 us.
    """
    plain = ("__copy__", "__setattr__")
    return (
        all(getattr(cls, name, None) is getattr(BaseNode, name, None) for name in plain)
        and not any(base.__dict__.get("__slots__") for base in cls.__mro__)
        and cls.__basicsize__ == BaseNode.__basicsize__
    )


class Answer(NamedTuple):
    """What an earlier call of ``exec`` came to: its value, after how many attempts, and the error of the one before."""

    value: Any
    attempts: int = 1
    error: Exception | None = None


class Answers(Protocol):
    """Who may answer a call in place of ``exec``. Asked and told in the driver's thread."""

    def find(self, call: "Call") -> Answer | None:
        """Return the answer to a call; None has it made."""

    def calling(self, call: "Call") -> None:
        """Take note of an attempt that is about to be made."""

    def keep(self, call: "Call", value: Any) -> None:
        """Take note of what a call that was made came to."""


class Setup:
    """What is the same for a whole run.

    Attributes:
        recorder: Where what happened is left.
        subscribers: Who is told of every event.
        executor: The user's executor for calls, or None.
        grace: Seconds that calls in flight get after a failure.
        open_sources: The batches whose async generators the driver has to close.
        noted: The exceptions that were given a note, by ``id``.
        concurrent: False walks param sets one after the other, as stepping does.
        stop: Where a request to end is found; None where nobody can make one.
        answers: Who may have the answer to a call, in place of ``exec``, and is told of every other; or None.
        from_start: Of param sets that are walked again: whether from their start. None: unless ``shared`` is as it was.
        begun_anew: How many of those began at their start because ``shared`` is not as it was.
        untold: The path of the visit that is reported by the position around this one.
    """

    def __init__(
        self,
        recorder: Recorder,
        *,
        subscribers: Iterable[Subscriber] = (),
        executor: Executor | None = None,
        concurrent: bool = True,
        grace: float = 5.0,
        from_start: bool | None = None,
        stop: Stop | None = None,
        answers: "Answers | None" = None,
        report: Callable[[Subscriber, Exception], object] = lambda subscriber, error: None,
    ) -> None:
        self.recorder = recorder
        self.subscribers = list(subscribers)
        self.executor = executor
        self.concurrent = concurrent
        self.grace = min(grace, LONGEST)
        self.from_start = from_start
        self.begun_anew = 0
        self.stop = stop
        self.answers = answers
        self.report = report
        self.noted: dict[int, BaseException] = {}
        self.open_sources: list[Batch] = []
        self.untold = ""

    def tell(self, event: Event) -> None:
        """Hand an event to every subscriber; one that raises is reported and told no more."""
        if event.path == self.untold and event.kind in ("visit_started", "visit_finished"):
            return
        for subscriber in self.subscribers[:]:
            try:
                subscriber.handle(event)
            except Exception as exc:
                self.subscribers.remove(subscriber)
                self.report(subscriber, exc)
