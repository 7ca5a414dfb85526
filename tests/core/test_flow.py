"""What a flow returns, in which order its hooks run, how it nests, and what stops it."""

from itertools import pairwise

import pytest

from llmflow_nb import BatchFlow, BatchNode, Flow, FlowError, MaxStepsError, Node, WiringError


class Say(Node):
    """Notes its name in ``shared`` and returns an action."""

    def __init__(self, name="say", action=None):
        super().__init__(name=name)
        self.action = action

    def post(self, shared, prep_res, exec_res):
        shared.append(self.name)
        return self.action


# ---- what run returns ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", [None, "", "default", "done"])
def test_run_returns_the_last_action(action):
    """``run`` returns the last action as the last node returned it, and the record holds it too."""
    start, flow = Say("a", "default"), Flow()
    flow.start(start) >> Say("b", action)
    assert flow.run([]) == action
    assert flow.last_run.action == action
    assert Say("c", action).run([]) == action


def test_run_of_a_bare_node():
    """``Node().run({})`` returns None."""
    assert Node().run({}) is None
    assert BatchNode().run({}) is None
    assert BatchFlow(start=Node()).run({}) is None


def test_inner_action_picks_the_outer_edge():
    """The last action inside a flow picks the edge that leaves the flow, through any number of levels."""
    inner = Flow(start=Flow(start=Say("inner", "done")))
    inner - "done" >> Say("done")
    inner >> Say("default")
    shared = []
    Flow(start=inner).run(shared)
    assert shared == ["inner", "done"]


def test_post_of_a_flow_replaces_the_action():
    """``post`` of a flow gets the last action, and what it returns takes its place."""

    class Decides(Flow):
        def post(self, shared, prep_res, exec_res):
            return f"{exec_res}!"

    inner = Decides(start=Say("inner", "done"))
    inner - "done!" >> Say("after", "end")
    shared = []
    assert Flow(start=inner).run(shared) == "end"
    assert shared == ["inner", "after"]
    assert Decides(start=Say("x", "done")).run([]) == "done!"


def test_hooks_of_a_flow_in_order():
    """``prep`` of a flow runs before its nodes and ``post`` after them, with what ``prep`` returned."""

    class Mine(Flow):
        def prep(self, shared):
            shared.append("prep")
            return "prepared"

        def post(self, shared, prep_res, exec_res):
            shared.append((prep_res, exec_res))

    shared = []
    assert Mine(start=Say("node", "done")).run(shared) is None
    assert shared == ["prep", "node", ("prepared", "done")]


def test_prep_of_a_flow_sets_no_params():
    """What ``prep`` of a plain flow returns goes to its ``post`` alone, not into the params."""

    class Mine(Flow):
        def prep(self, shared):
            return {"not": "params"}

    class See(Node):
        def post(self, shared, prep_res, exec_res):
            shared.append(dict(self.params))

    shared = []
    Mine(start=See()).run(shared)
    assert shared == [{}]


def test_post_of_a_batch_flow_gets_the_results():
    """``post`` of a BatchFlow gets the param sets, and the result of the last node's ``exec`` for each of them."""

    class Sets(BatchFlow):
        def prep(self, shared):
            return [{"n": 1}, {"n": 2}]

        def post(self, shared, prep_res, exec_res):
            shared.append((prep_res, exec_res))
            return "combined"

    class Square(Node):
        def exec(self, prep_res):
            return self.params["n"] ** 2

    first, shared = Node(), []
    first >> Square()
    assert Sets(start=first).run(shared) == "combined"
    assert shared == [([{"n": 1}, {"n": 2}], [1, 4])]


def test_results_of_nested_batch_flows():
    """The result of a walk that ends in a flow is the result of the last node in that flow; of a batch flow, a list."""

    class Sets(BatchFlow):
        def prep(self, shared):
            return [{len(self.params): 1}, {len(self.params): 2}]

        def post(self, shared, prep_res, exec_res):
            shared.append(exec_res)

    class Leaf(Node):
        def exec(self, prep_res):
            return tuple(self.params.values())

    shared = []
    Sets(start=Sets(start=Flow(start=Leaf()))).run(shared)
    assert shared == [[(1, 1), (1, 2)], [(2, 1), (2, 2)], [[(1, 1), (1, 2)], [(2, 1), (2, 2)]]]


def test_batch_flow_action_picks_an_edge():
    """What ``post`` of a BatchFlow returns picks the edge in the outer flow; by default the default one."""

    class Sets(BatchFlow):
        def prep(self, shared):
            return [{}]

    class Decides(Sets):
        def post(self, shared, prep_res, exec_res):
            return "next"

    shared = []
    plain, decides = Sets(start=Say("a", "ignored")), Decides(start=Say("b"))
    plain >> decides
    decides - "next" >> Say("c")
    Flow(start=plain).run(shared)
    assert shared == ["a", "b", "c"]


# ---- a flow without a start ------------------------------------------------------------------------------------------


def test_no_start():
    """A flow without a start node is an error that says what to write."""
    with pytest.raises(
        WiringError, match=r"^Flow has no start node; write Flow\(start=node\) or flow\.start\(node\)\."
    ) as e:
        Flow().run({})
    assert isinstance(e.value, ValueError)


def test_no_start_of_an_inner_flow():
    """An inner flow without a start is refused before anything runs, with its path."""
    first, shared = Say("first"), []
    first >> Flow(name="inner")
    with pytest.raises(WiringError, match=r"^Flow(/| > )inner has no start node"):
        Flow(start=first).run(shared)
    assert shared == []


def test_start_given_in_prep():
    """A flow may choose its start node in its own ``prep``."""

    class Chooses(Flow):
        def prep(self, shared):
            self.start(Say("chosen"))

    shared = []
    Chooses().run(shared)
    assert shared == ["chosen"]


# ---- a flow that contains itself -------------------------------------------------------------------------------------


def test_flow_that_starts_with_itself():
    """A flow that is its own start is refused."""
    flow = Flow(name="loop")
    flow.start(flow)
    with pytest.raises(WiringError, match=r"^loop contains itself: loop > loop. Nothing was run"):
        flow.run({})


def test_flow_that_contains_itself():
    """A flow that is a step of itself, some levels down, is refused before anything runs, with the path."""
    first, shared = Say("first"), []
    inner = Flow(start=Say("x"), name="inner")
    outer = Flow(start=first, name="outer")
    first >> inner
    last = Say("last")
    inner.start_node >> last
    last >> outer
    with pytest.raises(WiringError, match=r"^outer contains itself: outer > inner > outer. Nothing was run") as caught:
        outer.run(shared)
    assert isinstance(caught.value, FlowError)
    assert shared == []


def test_inner_flows_that_contain_each_other():
    """The path begins at the flow that is met again, not at the one that is run."""
    a, b = Flow(name="a"), Flow(name="b")
    a.start(b)
    b.start(Say("x")) >> a
    with pytest.raises(WiringError, match=r"^a contains itself: a > b > a. Nothing was run"):
        Flow(start=a).run([])


def test_flow_used_twice_is_fine():
    """A flow may be a step in two places, as long as it is not inside itself."""
    shared_flow = Flow(start=Say("x"), name="shared")
    first, second = Flow(start=shared_flow, name="first"), Flow(start=shared_flow, name="second")
    first >> second
    shared = []
    Flow(start=first).run(shared)
    assert shared == ["x", "x"]


def test_loop_over_a_flow_is_fine():
    """A flow may be visited again and again in a loop of the outer flow."""

    class Times(Node):
        def post(self, shared, prep_res, exec_res):
            return "again" if len(shared) < 3 else None

    inner, times, shared = Flow(start=Say("x")), Times(), []
    inner >> times
    times - "again" >> inner
    times >> Say("end")
    Flow(start=inner).run(shared)
    assert shared == ["x", "x", "x", "end"]


# ---- endless flows ---------------------------------------------------------------------------------------------------


def test_max_steps_names_the_cycle():
    """A flow that goes on and on ends with an error that names the way round and the parameter."""
    entry, draft, review = Say("entry"), Say("draft"), Say("review")
    entry >> draft >> review >> draft
    flow, shared = Flow(start=entry, max_steps=10), []
    with pytest.raises(
        MaxStepsError,
        match=r"^Flow made 10 visits and is still in the loop (draft > review > draft|review > draft > review)",
    ) as caught:
        flow.run(shared)
    assert "max_steps" in str(caught.value)
    assert isinstance(caught.value, RuntimeError)
    assert isinstance(caught.value, FlowError)
    assert len(shared) == 10
    assert len([visit for visit in flow.last_run.visits if visit.node != "Flow"]) == 10


def test_max_steps_names_the_shortest_cycle():
    """Of several ways round through the node that was to be visited, the shortest is named."""
    draft, review, polish = Say("draft"), Say("review"), Say("polish")
    draft >> review >> polish >> draft
    draft - "in a hurry" >> polish
    review - "no" >> polish
    with pytest.raises(MaxStepsError, match=r"^Flow made 3 visits and is still in the loop draft > polish > draft\. "):
        Flow(start=draft, max_steps=3).run([])


def test_max_steps_of_a_long_line():
    """A line that is longer than ``max_steps`` is stopped too, without a cycle to name."""
    nodes = [Say(str(i)) for i in range(5)]
    for a, b in pairwise(nodes):
        a >> b
    with pytest.raises(MaxStepsError, match=r"^Flow made 3 visits. If that is intended, give it a larger max_steps"):
        Flow(start=nodes[0], max_steps=3).run([])


def test_max_steps_is_reached_but_not_passed():
    """As many visits as ``max_steps`` are allowed."""
    a, b = Say("a"), Say("b")
    a >> b
    shared = []
    Flow(start=a, max_steps=2).run(shared)
    assert shared == ["a", "b"]


def test_max_steps_default():
    """By default a flow is taken to be endless after 10,000 visits."""
    a = Say("a")
    a >> a
    shared = []
    with pytest.raises(MaxStepsError, match=r"^Flow made 10000 visits and is still in the loop a > a"):
        Flow(start=a).run(shared)
    assert len(shared) == 10_000


def test_max_steps_counts_for_each_param_set():
    """Each param set of a BatchFlow counts for itself, and so does a nested flow."""
    a, b = Say("a"), Flow(start=Say("b"), max_steps=1)
    a >> b

    class Sets(BatchFlow):
        def prep(self, shared):
            return [{"n": n} for n in range(5)]

    shared = []
    Sets(start=a, max_steps=2).run(shared)
    assert shared == ["a", "b"] * 5


# ---- size ------------------------------------------------------------------------------------------------------------


def test_100_000_rounds():
    """A loop of 100,000 rounds is no strain on Python's stack."""

    class Count(Node):
        def post(self, shared, prep_res, exec_res):
            shared["n"] += 1
            return "again" if shared["n"] < 100_000 else "done"

    node, shared = Count(), {"n": 0}
    node - "again" >> node
    node - "done" >> Node()
    Flow(start=node, max_steps=None).run(shared)
    assert shared["n"] == 100_000


def test_500_nested_flows():
    """Nor are 500 flows, one in the other."""
    flow = Flow(start=Say("leaf", "done"))
    for _ in range(499):
        flow = Flow(start=flow)
    shared = []
    assert flow.run(shared) == "done"
    assert shared == ["leaf"]
    assert len(flow.last_run.visits) == 501


def test_500_nested_flows_that_fail():
    """An error from the depth of 500 flows comes out as it is."""

    class Fails(Node):
        def exec(self, prep_res):
            raise KeyError("deep")

    flow = Flow(start=Fails())
    for _ in range(499):
        flow = Flow(start=flow)
    with pytest.raises(KeyError, match="deep"):
        flow.run({})


def test_1_000_nodes_in_a_line():
    """A line of 1,000 nodes runs from one end to the other."""
    nodes = [Say(str(i)) for i in range(1000)]
    for a, b in pairwise(nodes):
        a >> b
    shared = []
    Flow(start=nodes[0]).run(shared)
    assert shared == [str(i) for i in range(1000)]


# ---- rewiring while it runs ------------------------------------------------------------------------------------------


def test_rewired_while_it_runs():
    """A hook may wire a new edge that the run then follows."""
    start = Say("start", "new")

    class Wires(Node):
        def post(self, shared, prep_res, exec_res):
            self.next(Say("added"))

    start - "new" >> Wires()
    shared = []
    Flow(start=start).run(shared)
    assert shared == ["start", "added"]


def test_run_again():
    """A flow can be run any number of times; the latest record is ``last_run``."""
    flow = Flow(start=Say("a", "x"))
    assert flow.last_run is None
    flow.run([])
    first = flow.last_run
    flow.run([])
    assert flow.last_run is not first
    assert first.action == "x"


def test_run_in_a_hook():
    """A hook may run another flow, or the same one on something else, to its end."""
    inner = Flow(start=Say("inner", "inner action"))

    class Runs(Node):
        def exec(self, prep_res):
            shared = []
            return inner.run(shared), shared

        def post(self, shared, prep_res, exec_res):
            shared.append(exec_res)

    shared = []
    Flow(start=Runs()).run(shared)
    assert shared == [("inner action", ["inner"])]
