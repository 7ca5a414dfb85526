"""A second run of a flow takes over what the first one found out about it, and notices every change in between."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from llmflow_nb import BatchFlow, Flow, Node, WiringError


class Step(Node):
    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared.append(self.name)


def chain() -> tuple[Flow, list[Node]]:
    """A flow of a, b and c; b and c are steps of a flow within it."""
    a, b, c = (Step(name=name) for name in "abc")
    b >> c
    inner = Flow(b, name="inner")
    a >> inner
    return Flow(a, name="outer"), [a, b, c, inner]


def paths(flow: Flow) -> list[str]:
    flow.run([])
    assert flow.last_run is not None
    return [visit.path for visit in flow.last_run.visits]


def test_an_unchanged_flow_runs_again_as_before() -> None:
    """Twice the same visits."""
    flow, _ = chain()
    assert paths(flow) == paths(flow) == ["outer/a", "outer/inner/b", "outer/inner/c", "outer/inner", "outer"]


def append_d(flow: Flow, nodes: list[Node]) -> None:
    nodes[2].next(Step(name="d"))


def cut_c(flow: Flow, nodes: list[Node]) -> None:
    del nodes[1].successors["default"]


def rename_c(flow: Flow, nodes: list[Node]) -> None:
    nodes[2].name = "b"


def swap_start(flow: Flow, nodes: list[Node]) -> None:
    nodes[3].start_node = nodes[2]  # type: ignore[attr-defined]


def move_edge(flow: Flow, nodes: list[Node]) -> None:
    """The same targets in the same order, but one of them is that of another node."""
    nodes[0].successors["other"] = nodes[1].successors.pop("default")


def swap_edges(flow: Flow, nodes: list[Node]) -> None:
    nodes[0].successors["default"] = nodes[1]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (append_d, ["outer/a", "outer/inner/b", "outer/inner/c", "outer/inner/d", "outer/inner", "outer"]),
        (cut_c, ["outer/a", "outer/inner/b", "outer/inner", "outer"]),
        (rename_c, ["outer/a", "outer/inner/b", "outer/inner/b#2", "outer/inner", "outer"]),
        (swap_start, ["outer/a", "outer/inner/c", "outer/inner", "outer"]),
        (move_edge, ["outer/a", "outer/inner/b", "outer/inner", "outer"]),
        (swap_edges, ["outer/a", "outer/b", "outer/c", "outer"]),
    ],
)
def test_a_change_of_the_wiring_is_noticed(change: Callable[[Flow, list[Node]], None], expected: list[str]) -> None:
    """An edge, a name or a start that changed between two runs holds for the second one."""
    flow, nodes = chain()
    paths(flow)
    change(flow, nodes)
    assert paths(flow) == expected


def test_a_flow_that_came_to_contain_itself_is_refused() -> None:
    """Also at the second run, before any hook is called."""
    flow, nodes = chain()
    paths(flow)
    nodes[2].next(flow)
    shared: list[str] = []
    with pytest.raises(WiringError, match="contains itself: outer > inner > outer"):
        flow.run(shared)
    assert shared == []


def test_an_edge_that_was_wired_over_twice_is_told_again() -> None:
    """Though it leads where it led before, so that only the warnings of the wiring have changed."""
    a, b, c = (Step(name=name) for name in "abc")
    a >> b
    flow = Flow(a)
    paths(flow)
    for target in (c, b):
        with pytest.warns(UserWarning, match="Overwriting successor"):
            a >> target
    paths(flow)
    assert flow.last_run is not None
    assert len(flow.last_run.problems) == 2


def test_a_setting_that_changed_holds_at_the_second_run() -> None:
    """On the object and on the class, also for other nodes of the class."""
    attempts = []

    class Failing(Node):
        def exec(self, prep_res: Any) -> None:
            attempts.append(self.name)
            raise LookupError(self.name)

    first, second = Failing(name="first"), Failing(name="second")
    for node in (first, second):
        with pytest.raises(LookupError, match=node.name):
            Flow(node).run({})
    first.max_retries = 3
    for node in (first, second):
        with pytest.raises(LookupError, match=node.name):
            Flow(node).run({})
    Failing.max_retries = 2
    for node in (first, second):
        with pytest.raises(LookupError, match=node.name):
            Flow(node).run({})
    assert attempts == ["first", "second", *["first"] * 3, "second", *["first"] * 3, *["second"] * 2]


def test_a_hook_that_was_replaced_is_called_at_the_second_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the object, and on the class; and the old one again after that."""
    flow, (a, *_) = chain()
    assert paths(flow)[0] == "outer/a"
    seen: list[str] = []
    a.__dict__["exec"] = lambda prep_res: seen.append("object")
    flow.run([])
    del a.__dict__["exec"]
    with monkeypatch.context() as patch:
        patch.setattr(Step, "exec", lambda self, shared, prep_res: seen.append("class"))
        flow.run([])
    flow.run([])
    assert seen == ["object", "class", "class", "class"]


def test_a_copy_method_that_was_added_is_used_at_the_second_run() -> None:
    """A class may say how its nodes are copied for a visit, from one run to the next."""

    class Copied(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared.append(getattr(self, "is_copied_by_hand", False))

    flow = Flow(Copied())
    shared: list[bool] = []
    flow.run(shared)

    def copy_by_hand(self: Copied) -> Copied:
        twin = Copied()
        twin.__dict__["is_copied_by_hand"] = True
        return twin

    Copied.__copy__ = copy_by_hand  # type: ignore[method-assign]
    flow.run(shared)
    assert shared == [False, True]


def test_a_flow_rewired_by_a_hook_walks_the_new_nodes() -> None:
    """Names are given to nodes that were not there when the run began."""

    class Rewires(BatchFlow):
        def prep(self, shared: Any) -> list[dict[str, int]]:
            self.start(Step(name="made in prep"))
            return [{"n": 1}]

    flow = Rewires(Step(name="wired before"), name="flow")
    assert paths(flow) == ["flow/made in prep", "flow"]
    assert paths(flow) == ["flow/made in prep", "flow"]


def test_a_failed_run_holds_no_record_of_earlier_runs() -> None:
    """Or a flow that fails again and again would keep the record of every run."""

    class Failing(Node):
        def exec(self, prep_res: Any) -> None:
            raise LookupError("no such page")

    flow = Flow(Failing())
    records = []
    for _ in range(3):
        with pytest.raises(LookupError, match="no such page"):
            flow.run({})
        records.append(weakref.ref(flow.last_run))
    gc.collect()
    assert [record() is not None for record in records] == [False, False, True]
