"""What the engine needs to know of a node, worked out once for a run and a path, so that a visit asks nothing twice."""

import copy
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..core.hooks import EXEC, ITEM, RUN, Hooks, Layer
from ..core.node import BaseNode, label
from ..core.seconds import LONGEST
from ..core.traversal import names_of, no_start, path_part, reachable
from .events import Event, Recorder, Subscriber
from .facts import Checked, Facts, facts_of
from .stop import Stop

if TYPE_CHECKING:
    from .batch import Batch
    from .calls import Call

__all__ = ["CachedResult", "Plan", "ResultCache", "Setup"]


class Plan:
    """One node at one place of one run.

    Attributes:
        node: The user's own object, of which every visit gets a copy.
        name: What it is called among its neighbours.
        path: Names from the outermost flow down, joined by "/".
        next: The plan of the step that this one led to last; before that one of no node.
        children: For a flow: the plans of its steps, by ``id`` of the node; also those of the run before.
        names: For a flow: what its steps are called, by ``id`` of the node.
        inner: The plans of the same node behind a layer, by that layer.
        within: The outermost layer that counts.
        stamp: That of the run which has this plan now, see `renew`.

    From `facts_of`, the same for all nodes of the class with these settings, but for `_take_layers`:

    Attributes:
        cls: The class, as it was when the plan was made.
        kind: "node", "batch_node", "flow" or "batch_flow".
        hooks: How the hooks are called.
        plain_names: Whether they are called ``prep``, ``exec`` and ``post``.
        copies_plainly: Whether a copy is just a new object with the same attributes.
        inline: Whether ``exec`` may be called on the spot.
        direct: The same, of a plain node with plainly named hooks.
        is_flow: Whether it is a flow of either kind.
        hands_on: Whether it is a flow whose action is the last one in it.
        hooks_overlap: Whether its ``prep`` and ``post`` are awaited beside those of other walks.
        has_prep, has_post: Whether there is one to call, other than the default that does nothing.
        limit: Calls (or param sets) in flight at once; None for no bound.
        timeout, limiter, on_error, strict, max_steps, item_key: The settings; keep: ``keep_items``.
        expands: Whether this is a `BatchFlow` with an ``exec`` of its own.
        has_router: Whether it is a flow whose ``get_next_node`` is the user's.
        is_reusable: Whether the next run may have this plan.
        layers: The methods of the user's, around the hooks.
        layer: That by which a visit is made here; None mostly. See `override`.
        setup: Of a plan with a layer: that of the run.
        driven: Of a visit that the user's own object serves: what is kept of it.
    """

    facts: Facts
    node: BaseNode
    name: str
    path: str
    next: "Plan"
    children: "dict[int, Plan]"
    names: dict[int, str] | None
    inner: "dict[int, Plan] | None"
    within: int
    stamp: object
    cls: type[BaseNode]
    kind: str
    hooks: Hooks
    plain_names: bool
    exec_takes_shared: bool
    any_action: bool
    copies_plainly: bool
    inline: bool
    direct: bool
    is_flow: bool
    hands_on: bool
    hooks_overlap: bool
    has_prep: bool
    has_post: bool
    limit: int | None
    timeout: float | None
    limiter: Any
    on_error: str
    strict: bool
    max_steps: int | None
    item_key: str | None
    keep: bool
    expands: bool
    has_router: bool
    is_reusable: bool
    layers: list[Layer]
    layer: Layer | None
    setup: "Setup | None"
    driven: "Driven | None"

    def __init__(self, node: BaseNode, name: str, path: str, setup: "Setup", within: int = RUN) -> None:
        """Plan a node. ``within``: the outermost layer that counts; those further out are entered already."""
        # One copy of a dict in place of 36 assignments: a chain of nodes that are visited once is mostly this.
        facts = setup.facts_of(node)
        self.__dict__ = {
            **facts,
            "facts": facts,
            "node": node,
            "name": name,
            "path": path,
            "within": within,
            "stamp": setup.stamp,
            "children": {},
            "next": _NOWHERE,
        }
        if self.layers or within:
            self._take_layers(setup)

    def _take_layers(self, setup: "Setup") -> None:
        """Have the user's override of PocketFlow's ``_run``, ``_exec`` or ``_orch`` called in place of the exec."""
        kind, within = self.kind, self.within
        if within > ITEM and kind == "batch_node":  # the base of the innermost layer calls one item
            self.kind, self.limit = "node", 1
        layer = next((layer for layer in self.layers if layer.level >= within), None)
        if layer is None:
            return
        self.layer, self.setup = layer, setup
        self.copies_plainly = self.is_reusable = False
        self.hooks = replace(
            self.hooks,
            exec=layer.called_by,
            exec_takes_shared=True,
            exec_is_async=layer.is_async,
            own=(self.hooks.own | {"exec"}) - {"fallback"},
            facts={},
        )
        self.plain_names, self.exec_takes_shared = False, True
        self.direct = self.expands = self.is_flow = self.hands_on = False
        if layer.level == RUN:
            self.hooks = replace(self.hooks, post="_hand_back", facts={})
            self.has_prep, self.has_post = False, True
        if layer.level == RUN or (layer.level == EXEC and kind != "batch_flow"):
            self.kind, self.limit = "node", 1
        elif kind == "batch_flow":
            self.kind = "batch_node"
        self.inline = self.limit == 1 and not layer.is_async

    def behind(self, level: int, setup: "Setup") -> "Plan":
        """Return the plan of this node with this layer, and those further out, entered already."""
        if self.inner is None:
            self.inner, self.is_reusable = {}, False
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
        """Return the plan of a step of this flow for this run, when the step is first visited.

        The plan of the run before serves again if it still holds: that costs a fifth of a new one.
        """
        known = self.children.get(id(node))
        if known is not None and (known.stamp is setup.stamp or known.renew(setup)):
            return known
        if self.names is None:
            self.names = setup.names.get(id(start))
        if self.names is None or id(node) not in self.names:  # a hook may have rewired the flow while it runs
            self.names = names_of(reachable(start))
        name = self.names.get(id(node)) or label(node)
        plan = self.children[id(node)] = Plan(node, name, f"{self.path}/{path_part(name)}", setup)
        return plan

    def renew(self, setup: "Setup") -> bool:
        """Use this plan of the run before in a new run. Return whether it still holds.

        Only one run has a plan at a time. The records of several runs share it, for what never changes in it.
        """
        if not self.is_reusable or setup.facts_of(self.node) is not self.facts:
            return False
        if self.is_flow and self.names is not setup.names.get(id(self.node.start_node)):  # type: ignore[attr-defined]
            self.children, self.names = {}, None
        self.stamp = setup.stamp
        return True

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


_NOWHERE: Plan = object.__new__(Plan)
_NOWHERE.__dict__.update(node=None, stamp=None)
"""Stands for the next step before there is one, so that a visit needs no question more."""


class CachedResult(NamedTuple):
    """The result of an earlier call of ``exec``, its number of attempts, and the error of the attempt before."""

    value: Any
    attempts: int = 1
    error: Exception | None = None


class ResultCache(Protocol):
    """Answers calls instead of ``exec``, and keeps their results. Used in the driver's thread."""

    def find(self, call: "Call") -> CachedResult | None:
        """Return the cached result of a call; None: the call is made."""

    def calling(self, call: "Call") -> None:
        """Count an attempt that is about to be made."""

    def keep(self, call: "Call", value: Any) -> None:
        """Keep the result of a call that was made."""


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
        result_cache: Answers calls in place of ``exec``, and gets the results of the others; or None.
        from_start: Of param sets that are walked again: whether from their start. None: unless ``shared`` is as it was.
        begun_anew: How many of those began at their start because ``shared`` is not as it was.
        untold: The path of the visit that is reported by the position around this one.
        names: What the steps of each flow are called, from `Survey`; empty where nobody has made one.
        stamp: Marks the plans that are true for this run.
        checked: The facts of the classes that this run has looked at.
        plan: The plan of the node that is run, from the run before; None where there is none.
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
        result_cache: "ResultCache | None" = None,
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
        self.result_cache = result_cache
        self.report = report
        self.noted: dict[int, BaseException] = {}
        self.open_sources: list[Batch] = []
        self.untold = ""
        self.names: dict[int, dict[int, str]] = {}
        self.stamp = object()
        self.plan: Plan | None = None
        self.checked: Checked = {}

    def facts_of(self, node: BaseNode) -> Facts:
        """Return the fields that the plan of a node has in this run. See `facts_of`."""
        calls_here = self.executor is None and not self.subscribers and self.result_cache is None
        return facts_of(node, calls_here, self.checked)

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
