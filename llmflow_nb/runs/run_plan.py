"""The plan of a run: which calls a journal answers, which the run will make, and what is not known yet."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from ..core.api.display import Shown
from ..core.hooks import hooks_of
from ..core.layers import overridden, router_of
from ..core.node import BaseNode, kind_of
from ..core.prices import UsageSum
from ..core.text import message, shown
from ..core.traversal import FLOWS, last_name, reachable
from ..journal.explained import NAMED, headline, reasons_text
from ..journal.wiring import nodes_by_path
from .rows import PlannedCall

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PlannedNode", "RunPlan", "Stops", "following"]


class PlannedNode(NamedTuple):
    """What is known of the calls of one node.

    Attributes:
        path: The names from the outermost flow down to the node, joined by "/".
        answered: The number of calls that the journal answers.
        to_call: The number of calls that the run will make.
        unknown: The minimum number of visits whose calls are not known, since their input is not known yet.
        why: Why calls will be made, and what unknown ones wait for.
        expected: The tokens and dollars that the calls to make will use, by the mean of the node's earlier calls in the
            journal; None if none of them has reported any.
    """

    path: str
    answered: int
    to_call: int
    unknown: int
    why: str
    expected: UsageSum | None = None


class Stops:
    """Where the walks of a plan have ended, because a result is not there.

    Attributes:
        counts: How often a visit has ended, by the path of its node, and whether the steps of that flow wait for it.
        unknown: How often the calls of a node are not known themselves, by its path and the reason.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, bool]] = Counter()
        self.unknown: dict[str, Counter[str]] = {}

    def add(self, path: str, *, is_within: bool = False) -> None:
        """Add a visit. ``is_within``: it is the ``exec`` of a batch flow for one element."""
        self.counts[path, is_within] += 1

    def add_unknown(self, path: str, why: str) -> None:
        """Add a visit whose own calls are not known."""
        self.unknown.setdefault(path, Counter())[why] += 1


class RunPlan(Shown):
    """The plan of a run with a journal: which calls are answered, which will be made, and what is not known yet.

    As the last line of a cell it shows a table with a row for each node.

    Attributes:
        name: The name of the flow.
        journal: The name of the file.
        calls: A `PlannedCall` for each call that is known.
        nodes: A `PlannedNode` for each node that makes calls, in the order of the wiring.
        ended_by: The exception that ends the run, or the input that the plan does not read to its end; "" for neither.
    """

    _shown_as = "plan"

    def __init__(
        self,
        root: BaseNode,
        journal: str,
        calls: list[PlannedCall],
        stops: Stops,
        ended_by: str,
        expected: dict[str, UsageSum],
    ) -> None:
        """Put the plan of a flow together."""
        by_path = nodes_by_path(root)
        self.name = next(iter(by_path))
        self.journal = journal
        self.calls = calls
        self.ended_by = ended_by
        self.nodes = [node._replace(expected=expected.get(node.path)) for node in _planned_nodes(by_path, calls, stops)]

    @property
    def answered(self) -> int:
        """The number of calls that the journal answers."""
        return sum(node.answered for node in self.nodes)

    @property
    def to_call(self) -> int:
        """The number of calls that are known and will be made."""
        return sum(node.to_call for node in self.nodes)

    @property
    def expected(self) -> UsageSum | None:
        """The tokens and dollars that the calls to make will use, see `PlannedNode`; None if nothing is known of them.

        It leaves out calls that are not known yet, and calls of nodes that have reported nothing.
        """
        known = [node.expected for node in self.nodes if node.expected is not None]
        return UsageSum.total(known) if known else None

    @property
    def is_complete(self) -> bool:
        """Whether these are all calls of the run: none waits for the result of another."""
        return not (self.ended_by or any(node.unknown for node in self.nodes))

    @property
    def df(self) -> "pd.DataFrame":
        """Return a plain `pandas.DataFrame` with a row for each call that is known, in the order of the run.

        The index counts the rows from 0. Columns, in this order:

        * ``path`` (string): the node;
        * one for each param, named like it, or ``params.<name>`` if another column has that name;
        * ``position`` (Int64): the index of the item, missing for a node without items;
        * ``item``: what ``exec`` is given, in a nullable dtype if all are strings, all numbers or all booleans;
        * ``status`` (string): answered, or to call; ``why`` (string): why a call will be made.
        """
        from .tables import plan_table

        return plan_table(self.calls)

    @property
    def headline(self) -> str:
        """The plan in a line."""
        parts = [headline(self.answered, _reasons(self.calls), self.journal)]
        waiting = list(dict.fromkeys(last_name(node.path) for node in self.nodes if node.unknown))
        if waiting:
            more = f" and {len(waiting) - NAMED} more" if len(waiting) > NAMED else ""
            parts.append(f"not known yet: {', '.join(waiting[:NAMED])}{more}")
        if self.expected is not None:
            at_least = "" if self.is_complete else "at least "
            parts.append(f"expected: {at_least}{self.expected}")
        return message("; ".join([*parts, *([self.ended_by] if self.ended_by else [])]))

    def __repr__(self) -> str:
        """Return the plan as a table of text, a row for each node."""
        count = len(PlannedNode._fields) - (self.expected is None)
        rows = [[name.replace("_", " ") for name in PlannedNode._fields[:count]]]
        rows += [[message(str(cell or ""), 320) for cell in node[:count]] for node in self.nodes]
        widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n  ".join([f"<plan of {shown(self.name)}: {self.headline}>", *(lines if self.nodes else [])])


def _planned_nodes(by_path: dict[str, BaseNode], calls: list[PlannedCall], stops: Stops) -> list[PlannedNode]:
    answered = Counter(call.path for call in calls if not call.why)
    reasons = _reasons(calls)
    unknown, waits_for = _unknown(by_path, stops)
    found = []
    for path in dict.fromkeys([*by_path, *answered, *reasons]):
        why = [reasons_text(reasons[path])] if path in reasons else []
        why += stops.unknown.get(path, ())
        if path in waits_for:
            why.append(f"waits for {', '.join(waits_for[path])}")
        if why or answered[path]:
            to_call = reasons[path].total() if path in reasons else 0
            found.append(PlannedNode(path, answered[path], to_call, unknown[path], "; ".join(why)))
    return found


def _reasons(calls: list[PlannedCall]) -> dict[str, Counter[str]]:
    """Return why calls will be made, by the path of the node."""
    found: dict[str, Counter[str]] = {}
    for call in calls:
        if call.why:
            found.setdefault(call.path, Counter())[call.why] += 1
    return found


def _unknown(by_path: dict[str, BaseNode], stops: Stops) -> tuple[Counter[str], dict[str, dict[str, None]]]:
    """Return for each node how many of its visits are not known, and the names of the nodes that they wait for."""
    unknown = Counter({path: reasons.total() for path, reasons in stops.unknown.items()})
    waits_for: dict[str, dict[str, None]] = {}
    for (path, is_within), count in stops.counts.items():
        for waiting, is_beside in following(by_path, path, is_within=is_within):
            node = by_path[waiting]
            if "exec" in hooks_of(node).own or overridden(node):
                unknown[waiting] = unknown[waiting] + count if is_beside else max(1, unknown[waiting])
                waits_for.setdefault(waiting, {})[last_name(path)] = None
    return unknown, waits_for


def following(by_path: dict[str, BaseNode], path: str, *, is_within: bool) -> Iterator[tuple[str, bool]]:
    """Yield the nodes that may be visited after one, and whether they are in the same param set, so once for each.

    Args:
        by_path: The nodes of the flow.
        path: The node.
        is_within: Whether the nodes inside it come after it too, as in the ``exec`` of a batch flow.
    """
    is_beside = True
    if is_within:
        yield from ((inner, True) for inner in by_path if inner.startswith(f"{path}/"))
        is_beside = False
    while "/" in path:
        flow = path.rpartition("/")[0]
        steps = {id(by_path[inner]): inner for inner in by_path if inner.rpartition("/")[0] == flow}
        starts = _steps_after(by_path[flow], by_path[path])
        for step in starts:
            first = steps[id(step)]
            yield first, is_beside
            if kind_of(step) in FLOWS:
                yield from ((inner, is_beside) for inner in by_path if inner.startswith(f"{first}/"))
        is_beside = is_beside and kind_of(by_path[flow]) != "batch_flow"
        path = flow


def _steps_after(flow: BaseNode, node: BaseNode) -> list[BaseNode]:
    """Return the steps of a flow that may be visited after one of them."""
    if router_of(flow) is not None:
        return reachable(flow.start_node)  # type: ignore[attr-defined]
    found: dict[int, BaseNode] = {}
    for target in node.successors.values():
        found.update({id(step): step for step in reachable(target)})
    return list(found.values())
