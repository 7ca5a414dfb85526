"""Plans: what the engine has to know of a node, found out once for a run and a path, so that a visit is cheap."""

import copy
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..core.hooks import Hooks
from ..core.layers import EXEC, ITEM, RUN, Layer
from ..core.node import BaseNode, label
from ..core.seconds import LONGEST
from ..core.traversal import names_of, no_start, path_part, reachable
from ..core.usage import Usage
from .budget import Budget
from .events import Event, Recorder, Subscriber
from .facts import Checked, Facts, facts_of
from .stop import Stop

if TYPE_CHECKING:
    from .batch import Batch
    from .calls import Call

__all__ = ["NOWHERE", "CachedResult", "Plan", "ResultCache", "Setup"]


class Plan:
    """How one run visits one node at one place of its flow."""

    node: BaseNode  # the user's own object, of which every visit gets a copy
    name: str  # its name among the steps of its flow
    path: str  # the names from the outermost flow down, joined by "/"
    next: "Plan"  # the plan of the step that followed last time
    children: "dict[int, Plan]"  # of a flow: the plans of its steps, by id of the node; some from the previous run
    names: dict[int, str] | None  # of a flow: the names of its steps, by id of the node
    stamp: object  # of the run that uses this plan now, see `renew`

    # From `facts_of`: the same for all nodes of the class with these settings, except what `_take_layers` changes.
    facts: Facts
    cls: type[BaseNode]
    kind: str  # "node", "batch_node", "flow" or "batch_flow"
    hooks: Hooks
    plain_names: bool  # whether the hooks are called ``prep``, ``exec`` and ``post``
    exec_takes_shared: bool
    any_action: bool  # whether ``post`` may return any hashable value
    copies_plainly: bool  # whether a copy is a new object with the same attributes
    inline: bool  # whether ``exec`` may be called by `advance` itself
    direct: bool  # whether it is a plain node with plain names whose ``exec`` may be called so
    awaited: bool  # whether it is a plain node whose async ``exec`` may be awaited by a driver itself
    is_flow: bool
    hands_on: bool  # whether it is a flow whose action is that of its last step
    hooks_overlap: bool  # whether ``prep`` and ``post`` are awaited side by side with those of other walks
    has_prep: bool
    has_post: bool
    limit: int | None  # calls or param sets in flight at once; None: no bound
    timeout: float | None  # seconds of one attempt
    limiter: Any
    on_error: str
    strict: bool
    max_steps: int | None
    item_key: str | None
    keep: bool  # the setting ``keep_items``
    expands: bool  # whether it is a `BatchFlow` with an ``exec`` of its own
    has_router: bool  # whether it is a flow with a ``get_next_node`` of the user's
    is_reusable: bool  # whether the next run may use this plan

    # Of a node with methods of the user's around its hooks, see `override`.
    layers: list[Layer]
    layer: Layer | None  # the one that makes the visit here
    within: int  # the outermost layer that counts; those further out have been entered
    inner: "dict[int, Plan] | None"  # the plans of the same node behind each layer
    setup: "Setup | None"  # of the run
    driven: "Driven | None"  # the state of a visit that the user's own object serves

    def __init__(self, node: BaseNode, name: str, path: str, setup: "Setup", within: int = RUN) -> None:
        """Plan a node."""
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
            "next": NOWHERE,
        }
        if self.layers or within:
            self._take_layers(setup)

    def _take_layers(self, setup: "Setup") -> None:
        """Call the user's override of PocketFlow's ``_run``, ``_exec`` or ``_orch`` in place of the exec."""
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
        self.direct = self.awaited = self.expands = self.is_flow = self.hands_on = False
        if layer.level == RUN:
            self.hooks = replace(self.hooks, post="_hand_back", facts={})
            self.has_prep, self.has_post = False, True
        if layer.level == RUN or (layer.level == EXEC and kind != "batch_flow"):
            self.kind, self.limit = "node", 1
        elif kind == "batch_flow":
            self.kind = "batch_node"
        self.inline = self.limit == 1 and not layer.is_async

    def behind(self, level: int, setup: "Setup") -> "Plan":
        """Return the plan of this node behind this layer, and behind those further out."""
        if self.inner is None:
            self.inner, self.is_reusable = {}, False
        plan = self.inner.get(level)
        if plan is None:
            plan = self.inner[level] = Plan(self.node, self.name, self.path, setup, level + 1)
        return plan

    def serve(self, visit: Any, *, is_shared: bool = False) -> Any:
        """Prepare an object to serve a visit, and return it. A visit with a layer gets its `Driven`.

        Args:
            visit: The node, or a copy of it.
            is_shared: Whether another run may use the same object. This plan then serves this visit only.
        """
        if self.layer is not None:
            assert self.setup is not None
            visit.__dict__[DRIVEN] = driven = Driven(self, visit, self.setup)
            self.driven = driven if is_shared else None
        return visit

    def driven_by(self, visit: Any, shared: Any = None) -> "Driven":
        """Return the state of a visit that a method of the user's makes, after setting its ``shared``."""
        driven: Driven = self.driven or visit.__dict__[DRIVEN]
        if shared is not None:
            driven.shared = shared
        return driven

    def child(self, node: BaseNode, start: BaseNode, setup: "Setup") -> "Plan":
        """Return the plan of a step of this flow, at the first visit of the step in this run.

        A plan of the previous run is used again if it is still valid, which costs a fifth of a new one.
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
        """Use this plan of the previous run in a new run. Return whether it is still valid.

        Only one run uses a plan at a time. The records of several runs refer to it for what never changes: node, path.
        """
        node = self.node
        if not self.is_reusable or facts_of(node, setup.calls_here, setup.checked) is not self.facts:
            return False
        if self.is_flow and self.names is not setup.names.get(id(node.start_node)):  # type: ignore[attr-defined]
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
    """The state of a visit that is made by a method which overrides one of PocketFlow's, as its attribute `DRIVEN`.

    Attributes:
        plan: The plan of the outermost layer.
        visit: The copy of the node.
        setup: The setup of the run.
        shared: What the hooks read and write.
        calls: The number of calls of the user's method that are in progress.
        attempts: The number of attempts of ``exec``.
        status: "ok", or "fallback" if a fallback returned the result.
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


NOWHERE: Plan = object.__new__(Plan)
NOWHERE.__dict__.update(node=None, stamp=None)
"""The value of ``next`` before a step is known. It saves a comparison with None in every visit."""


class CachedResult(NamedTuple):
    """The result of an earlier call of ``exec``.

    Attributes:
        value: The result.
        attempts: The number of attempts.
        error: The error of the attempt before the last one, if it is known.
        seconds: How long the call took.
        is_replayed: Whether an earlier call has returned it; not if it is the user's.
        status: "ok"; or "failed", with an `UnansweredError`: the call is not made either.
        usage: What the call has used.
    """

    value: Any
    attempts: int = 1
    error: Exception | None = None
    seconds: float = 0.0
    is_replayed: bool = True
    status: str = "ok"
    usage: tuple[Usage, ...] = ()


class ResultCache(Protocol):
    """Answers calls instead of ``exec``, and keeps their results. Used in the driver's thread."""

    def find(self, call: "Call") -> CachedResult | None:
        """Return the cached result of a call; None: the call is made."""

    def calling(self, call: "Call") -> None:
        """Count an attempt that is about to be made."""

    def keep(self, call: "Call", value: Any) -> None:
        """Keep the result of a call that was made."""

    def settled(self, call: "Call", status: str, value: Any, error: BaseException | None) -> None:
        """Note how a call ends, after `keep` if ``exec`` has returned. The value may be that of the fallback."""


class Setup:
    """The options of a run, and what all its positions share.

    Attributes:
        recorder: Records visits, batches and problems.
        subscribers: The objects that get every event.
        executor: The user's executor for calls, or None.
        grace: Seconds that calls in flight get after a failure.
        open_sources: The batches whose async generators the driver has to close.
        noted: The exceptions that already have a note, by ``id``.
        concurrent: Whether param sets may be walked side by side. False for a stepper.
        stop: The flag that ends the run; None if nobody can set it.
        result_cache: Answers calls in place of ``exec``, and gets the results of the others; or None.
        budget: The bound on the calls, or on what they cost; or None.
        from_start: Whether retried param sets are walked from their start. None: if ``shared`` has changed since.
        restarted: The number of param sets that were walked from their start because ``shared`` has changed.
        silent_path: The path of a visit whose events another position reports.
        names: The names of the steps of each flow, from `Survey`; empty if there was no survey.
        stamp: Marks the plans that are valid for this run.
        checked: The facts of the classes that this run has checked.
        plan: The plan of the node from the previous run, or None.
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
        budget: Budget | None = None,
        report: Callable[[Subscriber, Exception], object] = lambda subscriber, error: None,
    ) -> None:
        self.recorder = recorder
        self.subscribers = list(subscribers)
        self.calls_here = executor is None and not self.subscribers and result_cache is None and budget is None
        self.executor = executor
        self.concurrent = concurrent
        self.grace = min(grace, LONGEST)
        self.from_start = from_start
        self.restarted = 0
        self.stop = stop
        self.result_cache = result_cache
        self.budget = budget
        self.report = report
        self.noted: dict[int, BaseException] = {}
        self.open_sources: list[Batch] = []
        self.silent_path = ""
        self.names: dict[int, dict[int, str]] = {}
        self.stamp = object()
        self.plan: Plan | None = None
        self.checked: Checked = {}

    def facts_of(self, node: BaseNode) -> Facts:
        """Return the fields that the plan of a node has in this run. See `facts_of`."""
        return facts_of(node, self.calls_here, self.checked)

    def notify(self, event: Event) -> None:
        """Pass an event to every subscriber. One that raises is reported and removed."""
        if event.path == self.silent_path and event.kind in ("visit_started", "visit_finished"):
            return
        for subscriber in self.subscribers[:]:
            try:
                subscriber.handle(event)
            except Exception as exc:
                self.subscribers.remove(subscriber)
                self.report(subscriber, exc)
