"""Plans: what the engine has to know of a node, found out once for a run and a path, so that a visit is cheap.

A plan belongs to one place of one run. What it says of a class and its settings are `Facts`, which all nodes of the
class share.
"""

import copy
from typing import TYPE_CHECKING, Any

from ..core.layers import RUN
from ..core.node import BaseNode, label
from ..core.traversal import names_of, no_start, path_part, reachable
from .facts import Settings, behind_layers, facts_of

if TYPE_CHECKING:
    from .setup import Setup

__all__ = ["DRIVEN", "NOWHERE", "Driven", "Plan"]

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
        # Of a node whose class overrides methods around its hooks, see `override`.
        "within",  # the outermost layer that counts; the layers around it have been entered
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
        """Return the plan of this node behind this layer and the layers around it."""
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
        """Return the state of a visit that an override makes, after setting its ``shared``."""
        driven: Driven = self.driven or visit.__dict__[DRIVEN]
        if shared is not None:
            driven.shared = shared
        return driven

    def child(self, node: BaseNode, start: BaseNode, setup: "Setup") -> "Plan":
        """Return the plan of a step of this flow, at the first visit of the step in this run.

        If a plan of the previous run is still valid, it is reused, at a fifth of the cost of a new plan.
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
        if facts.kind not in _REUSED or self.inner is not None:
            return False
        if facts_of(node, setup.calls_here, setup.checked) is not facts:
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
