"""`Run`: how a run went and in what time, how much of it is kept, and what was probably not meant."""

import time
from contextlib import suppress

import pytest

from llmflow_nb import AllFailedError, BatchFlow, Flow, FlowWarning, MaxStepsError, Node
from llmflow_nb.runs.recorder import MAX_VISITS
from tests.engine.helpers import MODES, SIDE_BY_SIDE, Items, Signal, go, items_node

KEPT, LOOPS, BATCHES = 10_000, 30_500, 30_100  # visits are dropped several times


class Sets(BatchFlow):
    """Walks over ``shared["sets"]``."""

    def prep(self, shared):
        return shared["sets"]


class Leaf(Node):
    """Raises what its param "raises" says, in the hook that its param "in" says."""

    def prep(self, shared):
        self.fail("prep")

    def exec(self, prep_res):
        self.fail("exec")
        return "done"

    def post(self, shared, prep_res, exec_res):
        self.fail("post")
        return "left"

    def fail(self, hook):
        if self.params.get("in") == hook:
            raise self.params["raises"]


class Again(Node):
    """Comes back to itself until it was visited ``shared["most"]`` times."""

    def post(self, shared, prep_res, exec_res):
        shared["n"] += 1
        return "again" if shared["n"] < shared["most"] else "done"


def loop_of(node):
    """A flow that visits a node until it says that it is done, and then another one."""
    node - "again" >> node
    node - "done" >> Node(name="End")
    return Flow(node, name="Loop", max_steps=None)


def attempts_of(run):
    """The attempts of all visits that the record has."""
    return int(run.steps["attempts"].sum())


# ---- how it went -----------------------------------------------------------------------------------------------------


def test_before_the_first_run():
    """A flow that has not run has no record."""
    assert Flow(Node()).last_run is None


def test_a_run_that_went_well():
    """The record of a run knows what was run, with what, when, how long, and what it returned."""
    before = time.time()
    shared = {}
    flow = Flow(Leaf(), name="Outer")
    action = flow.run(shared)
    run = flow.last_run
    assert (run.node, run.name, run.status, run.action, run.error) == (flow, "Outer", "ok", "left", None)
    assert action == "left"
    assert run.shared is shared
    assert before <= run.started <= time.time()
    assert 0 <= run.seconds <= time.time() - before + 1
    assert run.seconds_so_far == run.seconds
    assert (run.abandoned, run.failures, run.problems) == (0, [], [])


@pytest.mark.parametrize("mode", ["inline", "awaited"])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (LookupError("no such thing"), "failed"),
        (KeyboardInterrupt(), "interrupted"),
        (SystemExit(), "interrupted"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value,
)
def test_a_run_that_was_ended(mode, error, status):
    """An exception that ends a run is in its record, which says whether it failed or was interrupted."""
    flow = Flow(Leaf())
    flow.set_params({"in": "exec", "raises": error})
    with pytest.raises(type(error)) as caught:
        go(mode, flow, {})
    run = flow.last_run
    assert (run.status, run.action) == (status, None)
    assert type(run.error) is type(caught.value)
    assert run.error.args == caught.value.args
    if mode == "inline":
        assert caught.value is error
    assert run.seconds >= 0
    assert [visit.status for visit in run.visits] == ["failed" if status == "failed" else "cancelled"] * 2


def test_a_run_that_was_stopped():
    """A submitted run that was stopped says so; it is neither failed nor interrupted."""
    begun, release = Signal(), Signal()

    class Wait(Node):
        def exec(self, prep_res):
            begun.set()
            release.wait()

    handle = Flow(Wait(name="Wait"), name="Outer").submit({})
    try:
        begun.wait()
        assert (handle.run.status, handle.run.seconds) == ("running", None)
        assert handle.stop()
    finally:
        release.set()
    assert (handle.run.status, handle.run.action) == ("stopped", None)
    assert handle.run.seconds >= 0
    assert handle.run.abandoned == 1
    assert [(visit.path, visit.status) for visit in handle.run.visits] == [
        ("Outer/Wait", "cancelled"),
        ("Outer", "cancelled"),
    ]
    assert handle.run.failures == []


def test_a_run_that_goes_on():
    """While it goes on, a record has the visits that have ended, and no seconds, action or error yet."""

    class Look(Node):
        def exec(self, prep_res):
            run = flow.last_run
            seen.append((run.status, run.seconds, run.action, run.error, run.visit_count, len(run.visits), run.calls))
            seen_seconds.append(run.seconds_so_far)

    seen, seen_seconds = [], []
    first = Look(name="First")
    first >> Look(name="Second")
    flow = Flow(first)
    flow.run({})
    assert seen == [("running", None, None, None, 0, 0, 0), ("running", None, None, None, 1, 1, 1)]
    assert 0 <= seen_seconds[0] <= seen_seconds[1]


def test_latest_run():
    """Each run has a record of its own; the flow shows the latest, and what was taken before stays what it was."""
    flow = Flow(Leaf())
    flow.run({})
    first = flow.last_run
    flow.set_params({"in": "exec", "raises": LookupError("no")})
    with pytest.raises(LookupError):
        flow.run({})
    assert (first.status, flow.last_run.status) == ("ok", "failed")
    assert len(first.visits) == 2


def test_repr():
    """A record says in a line how the run went, what it took, and what was wrong with it."""
    node = items_node("inline", lambda node, item: 1 // item, name="Map", on_error="keep")
    node.run({"items": [1, 0, 0]})
    assert repr(node.last_run).startswith("<Run ok: 1 visit, 3 calls, 2 failed items, ")
    assert repr(node.last_run).endswith(" s>")
    other = items_node("inline", lambda node, item: item, name="Map")
    other.run({"items": None})
    assert repr(other.last_run).startswith("<Run ok: 1 visit, 0 calls, 1 problem, ")


class Looks:
    """A subscriber that notes where a run is at each event."""

    def __init__(self, node):
        self.node, self.seen = node, []

    def handle(self, event):
        self.seen.append((event.kind, self.node.last_run._recorder.where()))


@pytest.mark.parametrize("mode", ["run", "awaited"])
def test_where_a_run_is_while_it_goes_on(mode):
    """The path of the node that is visited, and nothing before a walk has come to its first one or after the end."""
    flow = Sets(Leaf(), name="S")
    looks = Looks(flow)
    go(mode, flow, {"sets": [{"n": 1}, {"n": 2}]}, subscribers=[looks])
    assert [where for kind, where in looks.seen if kind == "param_set_started"] == ["", "S/Leaf"]
    assert {where for kind, where in looks.seen if kind in ("call_started", "attempt_started")} == {"S/Leaf"}
    assert looks.seen[0] == ("run_started", "S")
    assert looks.seen[-1] == ("run_finished", "")


# ---- visits ----------------------------------------------------------------------------------------------------------


def test_visits():
    """A visit knows its node, its params, the action, the attempts, its times and its error."""

    class Shy(Node):
        def exec(self, prep_res):
            if self.cur_retry == 0:
                raise LookupError("too shy")

        def post(self, shared, prep_res, exec_res):
            return "left"

    flow = Sets(Shy(max_retries=2, name="Shy"), name="Sets")
    flow.run({"sets": [{"n": 1}]})
    visit, outer = flow.last_run.visits
    assert (visit.step, visit.path, visit.node, visit.visit) == (0, "Sets/Shy", "Shy", 1)
    assert (dict(visit.params), visit.action, visit.status, visit.attempts) == ({"n": 1}, "left", "ok", 2)
    assert visit.error is None
    assert visit.seconds == pytest.approx(visit.prep_s + visit.exec_s + visit.post_s)
    assert (outer.step, outer.path, outer.attempts) == (1, "Sets", 0)
    assert outer.exec_s >= visit.seconds


@pytest.mark.parametrize(("hook", "attempts"), [("prep", 0), ("exec", 1), ("post", 1)])
def test_visits_that_failed(hook, attempts):
    """A visit that failed has the exception, no action, and the attempts that were made before."""
    flow = Flow(Leaf(), name="Outer")
    error = LookupError("no such thing")
    flow.set_params({"in": hook, "raises": error})
    with pytest.raises(LookupError):
        flow.run({})
    for visit in flow.last_run.visits:
        assert (visit.status, visit.action, visit.error) == ("failed", None, flow.last_run.error)
    assert [visit.attempts for visit in flow.last_run.visits] == [attempts, 0]
    assert flow.last_run.calls == attempts


def test_visit_by_the_fallback():
    """A visit that the fallback answered says so, and counts the attempts of ``exec``."""

    class Fallback(Leaf):
        def exec_fallback(self, prep_res, exc):
            return "made up"

    node = Fallback(max_retries=3)
    node.set_params({"in": "exec", "raises": LookupError("no")})
    node.run({})
    (visit,) = node.last_run.visits
    assert (visit.status, visit.attempts, visit.action) == ("fallback", 3, "left")


# ---- calls -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_retries", [1, 3])
@pytest.mark.parametrize("on_error", ["raise", "keep"])
@pytest.mark.parametrize(
    "items", [["a", "b"], ["a", "shy", "b"], ["a", "bad", "b"], ["a", "stop", "b"], ["bad"], []], ids=",".join
)
@pytest.mark.parametrize("mode", MODES)
def test_calls_of_a_batch_are_those_of_its_visits(mode, items, on_error, max_retries):
    """However a batch ended, calls are the attempts of all visits, and of all rows."""
    made = []

    def work(node, item):
        made.append(item)
        if item == "bad" or (item == "shy" and made.count("shy") == 1):
            raise LookupError(item)
        if item == "stop":
            raise KeyboardInterrupt
        return item

    node = items_node(mode, work, name="Map", on_error=on_error, max_retries=max_retries)
    flow = Flow(node)
    with suppress(LookupError, AllFailedError, KeyboardInterrupt):
        go(mode, flow, {"items": items})
    run = flow.last_run
    assert run.calls == attempts_of(run) == sum(item.attempts for item in run.batch(node))
    if mode in ("inline", "threads"):  # elsewhere a task may be cancelled before it has begun to work
        assert run.calls == len(made)


@pytest.mark.parametrize("max_concurrency", [1, 3])
@pytest.mark.parametrize("on_error", ["raise", "keep"])
@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt])
@pytest.mark.parametrize("hook", ["prep", "exec", "post", "none"])
def test_calls_of_param_sets_are_those_of_their_visits(hook, error, on_error, max_concurrency):
    """However a batch flow ended, calls are the attempts of all visits; the flow itself has none."""
    sets = [{"n": 1}, {"n": 2, "in": hook, "raises": error}, {"n": 3}]
    flow = Sets(Leaf(max_retries=2), max_concurrency=max_concurrency, on_error=on_error)
    with suppress(LookupError, KeyboardInterrupt):
        flow.run({"sets": sets})
    run = flow.last_run
    assert run.calls == attempts_of(run)
    assert run.visits[-1].attempts == 0
    if hook == "none":
        assert run.calls == 3


def test_calls_of_a_flow_with_batches_in_a_loop():
    """In a loop of a batch node and others, calls are the attempts of all visits."""

    class Map(Items):
        def exec(self, item):
            return item

        def post(self, shared, prep_res, exec_res):
            shared["n"] += 1
            return "again" if shared["n"] < 5 else "done"

    flow = loop_of(Map())
    flow.run({"n": 0, "items": [1, 2, 3]})
    assert flow.last_run.calls == attempts_of(flow.last_run) == 16  # and one of the node at the end


# ---- how much is kept ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long_loop(few_visits_kept):
    """The record of a loop that makes more visits than are kept."""
    flow = loop_of(Again(name="Again"))
    flow.run({"n": 0, "most": LOOPS})
    return flow.last_run


@pytest.fixture(scope="module")
def long_loop_of_batches(few_visits_kept):
    """The record of a loop over a batch node, two items a visit, of more visits than are kept."""

    class Map(Items):
        def prep(self, shared):
            return [shared["n"], -shared["n"]]

        def exec(self, item):
            if item == -2:
                raise LookupError("of a visit that is not kept")
            return item

        post = Again.post

    flow = loop_of(Map(name="Map", on_error="keep"))
    flow.run({"n": 0, "most": BATCHES})
    return flow.last_run


def test_how_many_visits_are_kept():
    """A record keeps 100,000 visits: here as everywhere else where no fixture makes it fewer."""
    assert MAX_VISITS == 100_000


@pytest.mark.parametrize("record", ["long_loop", "long_loop_of_batches"])
def test_the_latest_visits_are_kept(record, request):
    """Of a flow that goes on and on at least the latest visits are kept, as many as the record says, and few more."""
    run = request.getfixturevalue(record)
    visits = run.visits
    assert KEPT <= len(visits) < 2 * KEPT
    assert [visit.path for visit in visits[-2:]] == ["Loop/End", "Loop"]
    assert len(run.steps) == len(visits)


@pytest.mark.parametrize(("record", "loops"), [("long_loop", LOOPS), ("long_loop_of_batches", BATCHES)])
def test_numbers_go_on(record, loops, request):
    """What was dropped is counted: steps go on from there, one after the other, and so do visits."""
    run = request.getfixturevalue(record)
    visits = run.visits
    assert run.visit_count == loops + 2
    first = visits[0].step
    assert first == run.visit_count - len(visits)
    assert [visit.step for visit in visits] == list(range(first, run.visit_count))
    assert [visit.visit for visit in visits[:-2]] == list(range(first + 1, loops + 1))
    assert [visit.visit for visit in visits[-2:]] == [1, 1]
    steps = run.steps
    assert steps["step"].iat[0] == first
    assert steps["visit"].iat[0] == first + 1
    assert steps.index[0] == 0


@pytest.mark.parametrize(("record", "loops", "each"), [("long_loop", LOOPS, 1), ("long_loop_of_batches", BATCHES, 2)])
def test_calls_go_on(record, loops, each, request):
    """Calls count those of the visits that were dropped too."""
    run = request.getfixturevalue(record)
    assert run.calls == each * loops + 1
    assert sum(visit.attempts for visit in run.visits) == each * (len(run.visits) - 2) + 1
    assert repr(run).startswith(f"<Run ok: {loops + 2:,} visits, {each * loops + 1:,} calls")


def test_the_latest_batches_are_kept(long_loop_of_batches):
    """Of a batch node in such a loop at least the latest visits are kept, and not many more, whole."""
    record = long_loop_of_batches.batch("Map")
    kept = len(record) // 2
    assert KEPT <= kept < 2 * KEPT
    assert record.counts == {"ok": 2 * kept}
    assert (record[0].item, record[1].item) == (BATCHES - kept, kept - BATCHES)
    assert (record[-2].result, record[-1].result) == (BATCHES - 1, 1 - BATCHES)
    assert long_loop_of_batches.failures == []


def test_failures_of_dropped_visits_are_dropped(few_visits_kept):
    """A failure stands in the row of its visit also after others were dropped, and goes with it."""

    class Some(Again):
        def exec(self, prep_res):
            if self.params["n"] in (0, 15_999):
                raise LookupError(self.params["n"])

        def post(self, shared, prep_res, exec_res):
            pass

    flow = Sets(Some(), on_error="keep")
    flow.run({"sets": [{"n": n} for n in range(16_000)]})
    run = flow.last_run
    assert run.visits[0].step > 0
    assert [str(error) for _, _, error in run.failures] == ["15999"]
    assert [visit.step for visit in run.visits if visit.error is not None] == [15_999]
    assert [item.status for item in run.batch(flow)].count("failed") == 2
    assert len(run.batch(flow)) == 16_000


def test_short_runs_are_kept_whole():
    """A run of fewer visits than that has them all."""
    flow = loop_of(Again(name="Again"))
    flow.run({"n": 0, "most": 5_000})
    assert len(flow.last_run.visits) == flow.last_run.visit_count == 5_002
    assert flow.last_run.visits[0].step == 0


def test_endless_flow():
    """A flow that was stopped as endless has its visits, and failed at one of them."""
    node = Again(name="Again")
    node - "again" >> node
    flow = Flow(node, name="Loop", max_steps=10)
    with pytest.raises(MaxStepsError):
        flow.run({"n": 0, "most": 100})
    run = flow.last_run
    assert run.status == "failed"
    assert [visit.status for visit in run.visits if visit.path == "Loop/Again"][:10] == ["ok"] * 10
    assert run.calls == 10


# ---- what was probably not meant -------------------------------------------------------------------------------------


def lose(*actions):
    """The record of a flow in which a node returns these actions, one after the other, for which it has no edge."""
    said = iter(actions)

    class Lost(Node):
        def post(self, shared, prep_res, exec_res):
            return next(said)

    node = Lost(name="Ask")
    node - "approve" >> Node(name="Yes")
    node - "reject" >> Node(name="No")
    flow = Sets(node, name="Outer")
    with pytest.warns(FlowWarning, match="not found in"):
        flow.run({"sets": [{}] * len(actions)})
    return flow.last_run


def test_lost_action_is_a_problem():
    """An action without an edge is a problem, with the edges that there are."""
    run = lose("aprove")
    assert run.problems == ["Outer/Ask: 'aprove' not found in ['approve', 'reject'] (did you mean 'approve'?)"]
    assert run.status == "ok"


def test_problems_come_once():
    """A problem that comes again is counted, each kind by itself, in the order in which they first came."""
    run = lose("aprove", "rejet", "aprove", "aprove", "aprove")
    edges = "not found in ['approve', 'reject'] (did you mean"
    assert run.problems == [
        f"Outer/Ask: 'aprove' {edges} 'approve'?) (4 times)",
        f"Outer/Ask: 'rejet' {edges} 'reject'?)",
    ]


def test_an_edge_that_is_there_is_no_problem():
    """An action that has an edge, or no edge where the node has none at all, is no problem."""
    flow = loop_of(Again())
    flow.run({"n": 0, "most": 3})
    assert flow.last_run.problems == []
    other = Flow(Leaf())
    assert other.run({}) == "left"
    assert other.last_run.problems == []


def test_number_of_problems_is_bounded():
    """The first 1,000 kinds of problems are told; those that are among them go on being counted."""
    names = [f"lost {n}" for n in range(1_500)]
    run = lose(*names, "lost 0")
    assert len(run.problems) == 1_000
    assert run.problems[0] == "Outer/Ask: 'lost 0' not found in ['approve', 'reject'] (2 times)"
    assert run.problems[-1].startswith("Outer/Ask: 'lost 999' not found")


def test_overwritten_edge_is_a_problem():
    """An edge that was wired over to another node is a problem of every run, at any depth."""
    node = Node(name="Ask")
    node >> Node(name="First")
    with pytest.warns(FlowWarning, match="Overwriting successor for action 'default' of Ask: was First, is Second"):
        node >> Node(name="Second")
    flow = Flow(Flow(node, name="Inner"), name="Outer")
    for _ in range(2):
        flow.run({})
        assert flow.last_run.problems == ["Overwriting successor for action 'default' of Ask: was First, is Second"]


def test_edge_wired_twice_alike_is_no_problem():
    """An edge that was wired twice to the same node changes nothing, and is no problem of the run."""
    node, target = Node(name="Ask"), Node(name="Target")
    node >> target
    node >> target
    flow = Flow(node)
    flow.run({})
    assert flow.last_run.problems == []


@pytest.mark.parametrize("mode", MODES)
def test_prep_without_a_return_is_a_problem(mode):
    """A batch whose ``prep`` returned None, which runs nothing, is a problem; an empty list is none."""
    node = items_node(mode, lambda node, item: item, name="Map")
    go(mode, node, {"items": None})
    assert node.last_run.problems == ["Map: prep returned None, which is an empty batch. Is a return missing?"]
    assert len(node.last_run.batch(node)) == 0
    go(mode, node, {"items": []})
    assert node.last_run.problems == []


def test_batch_flow_without_a_return_is_a_problem():
    """So is a batch flow whose ``prep`` returned None."""
    flow = Sets(Leaf(), name="Sets")
    flow.run({"sets": None})
    assert flow.last_run.problems == ["Sets: prep returned None, which is an empty batch. Is a return missing?"]


def test_problems_of_param_sets_are_one():
    """The same problem in many param sets is told once, with how often it came."""
    flow = Sets(items_node("inline", lambda node, item: item, name="Map"), name="Sets")
    flow.run({"sets": [{"n": n} for n in range(3)], "items": None})
    assert flow.last_run.problems == [
        "Sets/Map: prep returned None, which is an empty batch. Is a return missing? (3 times)"
    ]


@pytest.mark.parametrize("mode", SIDE_BY_SIDE)
def test_problems_side_by_side(mode):
    """Problems of param sets that run side by side are counted like others."""
    flow = Sets(items_node(mode, lambda node, item: item, name="Map"), name="Sets", max_concurrency=3)
    go(mode, flow, {"sets": [{"n": n} for n in range(6)], "items": None})
    assert flow.last_run.problems == [
        "Sets/Map: prep returned None, which is an empty batch. Is a return missing? (6 times)"
    ]
