"""Plans: what the engine has to know of a node, found out once for a run and a path, so that a visit is cheap.

A plan belongs to one place of one run. What it says of a class and its settings are `Facts`, which all nodes of the
class share.
"""

import copy
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..core.layers import RUN
from ..core.node import BaseNode, label
from ..core.seconds import LONGEST
from ..core.traversal import names_of, no_start, path_part, reachable
from ..core.usage import Usage
from .budget import Budget
from .events import Event, Recorder, Subscriber
from .facts import Checked, Facts, Settings, behind_layers, facts_of
from .stop import Stop

if TYPE_CHECKING:
    from .batch import Batch
    from .calls import Call

__all__ = ["NOWHERE", "CachedResult", "Plan", "ResultCache", "Setup"]


_REUSED = ("node", "flow")
"""The kinds of nodes whose plan the next run may use again. A record reads the settings of its batches later."""


class Plan:
    """One node at one place of a flow, as one run visits it. What depends on class and settings only are `Facts`."""

    __slots__ = (  # noqa: RUF023  ordered by meaning
        "node",  # the user's own object, of which every visit gets a copy
        "name",  # its name among the steps of its flow
        "path",  # the names from the outermost flow down, joined by "/"
        "facts",
        "stamp",  # of the run that uses this plan now, see `renew`
        "next",  # the plan of the step that followed last time
        "children",  # of a flow: the plans of its steps, by id of the node; some from the previous run
        "names",  # of a flow: the names of its steps, by id of the node; None if unknown
        # Of a node with methods of the user's around its hooks, see `override`.
        "within",  # the outermost layer that counts; those further out have been entered
        "inner",  # the plans of the same node behind each layer; None: there is none
        "setup",  # of the run, if a layer makes the visit
        "driven",  # the state of a visit that the user's own object serves
    )

    def __init__(self, node: BaseNode, name: str, path: str, setup: "Setup", within: int = RUN) -> None:
        """Plan a node."""
        self.node = node
        self.name = name
        self.path = path
        self.facts = facts = setup.facts_of(node)
        self.stamp: object = setup.stamp
        self.next = NOWHERE
        self.children: dict[int, Plan] = {}
        self.names: dict[int, str] | None = None
        self.within = within
        self.inner: dict[int, Plan] | None = None
        self.setup: Setup | None = None
        self.driven: Driven | None = None
        if facts.layers or within:
            self.facts = behind_layers(facts, within)
            self.setup = setup

    @property
    def settings(self) -> Settings:
        """The settings of the node."""
        return self.facts.settings

    def behind(self, level: int, setup: "Setup") -> "Plan":
        """Return the plan of this node behind this layer, and behind those further out."""
        if self.inner is None:
            self.inner = {}
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
        if self.facts.layer is not None:
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
        node, facts = self.node, self.facts
        if facts.kind not in _REUSED or self.inner is not None or setup.facts_of(node) is not facts:
            return False
        if facts.is_flow and self.names is not setup.names.get(id(node.start_node)):  # type: ignore[attr-defined]
            self.children, self.names = {}, None
        self.stamp = setup.stamp
        return True

    def clone(self, params: Any) -> Any:
        """Return the copy of the node that serves one visit."""
        if not self.facts.copies_plainly:
            twin = self.serve(copy.copy(self.node))
            twin.__dict__["params"] = params  # not by setattr, which the class may have closed
            return twin
        twin = object.__new__(self.facts.cls)
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
"""The value of ``next`` before a step is known. It saves a comparison with None in every visit."""
NOWHERE.node = NOWHERE.stamp = NOWHERE.facts = None  # type: ignore[assignment]


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
        """Return the facts of a node in this run. See `facts_of`."""
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
