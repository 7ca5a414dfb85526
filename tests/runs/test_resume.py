"""`Run.resume`: a run that failed, was interrupted or stopped goes on where it was. The laws: tests/properties."""

import asyncio
import threading
from itertools import pairwise

import pytest

from llmflow_nb import BatchFlow, BatchNode, Flow, MaxStepsError, Node, RunStateError, StoppedError
from tests.engine.helpers import PATIENCE


class Step(Node):
    """Notes its calls in ``shared``, and fails as long as ``shared`` says so."""

    def exec(self, shared, _):
        shared["calls"].append(self.name)
        if self.name in shared["failing"]:
            raise shared["error"]
        return self.name

    def post(self, shared, prep_res, exec_res):
        shared["done"].append(exec_res)
        return "done"


class Items(BatchNode):
    """The same, for each item."""

    def prep(self, shared):
        return shared["items"]() if callable(shared["items"]) else shared["items"]

    def exec(self, shared, item):
        shared["calls"].append(item)
        if item in shared["failing"]:
            raise shared["error"]
        return item * 10

    def post(self, shared, prep_res, exec_res):
        shared["results"] = exec_res


def fresh(*failing, error=None, items=(1, 2, 3, 4)):
    return {"calls": [], "done": [], "failing": set(failing), "error": error or ValueError("no"), "items": items}


def chain(*nodes):
    for node, following in pairwise(nodes):
        node.next(following, "done")
    return Flow(nodes[0], name="F")


def stopped(flow, shared, error=ValueError):
    """Run a flow that stops with an error, and mend what it failed of."""
    with pytest.raises(error):
        flow.run(shared)
    shared["failing"].clear()
    return flow.last_run


def test_it_goes_on_at_the_node_that_failed():
    """What came before is not called again; what comes after is, and the last action is returned."""
    shared = fresh("b")
    run = stopped(chain(Step(name="a"), Step(name="b"), Step(name="c")), shared)
    assert run.resume() == "done"
    assert shared["calls"] == ["a", "b", "b", "c"]
    assert shared["done"] == ["a", "b", "c"]
    assert (run.status, run.action, run.error, len(run.errors)) == ("ok", "done", None, 0)
    assert run.notes == [("F/b", "resumed after the failure")]
    assert shared["error"].__notes__ == [
        "in F > b; completed results are in .last_run; .last_run.resume() continues from there"
    ]


def test_after_an_interrupt():
    """A call that was interrupted is made again; the interrupt says how."""
    shared = fresh("b", error=KeyboardInterrupt())
    run = stopped(chain(Step(name="a"), Step(name="b")), shared, KeyboardInterrupt)
    assert run.status == "interrupted"
    assert run.error.__notes__ == ["completed results are in .last_run; .last_run.resume() continues from there"]
    assert run.resume() == "done"
    assert shared["calls"] == ["a", "b", "b"]


def test_after_a_run_in_the_background_was_stopped():
    """`Submitted.stop` leaves a run that can be gone on with."""
    began, end = threading.Event(), threading.Event()

    class Waits(Step):
        def exec(self, shared, _):
            began.set()
            if not end.wait(PATIENCE if shared["failing"] else 0):
                return super().exec(shared, _)
            return "late"

    shared = fresh("wait")
    handle = chain(Step(name="a"), Waits(name="b")).submit(shared)
    assert began.wait(PATIENCE)
    handle.stop()
    end.set()
    with pytest.raises(StoppedError):
        asyncio.run(asyncio.wait_for(handle, PATIENCE))
    shared["failing"].clear()
    end.clear()
    assert handle.run.resume() == "done"
    assert shared["done"] == ["a", "b"]


class OneSet(BatchFlow):
    def prep(self, shared):
        return [{"n": 0}]


@pytest.mark.parametrize("kind", [Flow, OneSet])
def test_after_a_stop_between_two_nodes(kind):
    """A run that was stopped after a ``post`` resumes at the next node: no call is made again."""
    began, end = threading.Event(), threading.Event()

    class Last(Step):
        def post(self, shared, prep_res, exec_res):
            began.set()
            assert end.wait(PATIENCE)
            return "done"

    async def stop(handle):
        waits = asyncio.gather(handle, return_exceptions=True)
        await asyncio.to_thread(began.wait, PATIENCE)
        waits.cancel()
        await asyncio.sleep(0)  # the stop is requested
        end.set()
        with pytest.raises(asyncio.CancelledError):
            await waits

    first, shared = Last(name="a"), fresh()
    _ = first - "done" >> Step(name="b")
    handle = kind(first, name="F").submit(shared)
    asyncio.run(stop(handle))
    assert handle.run.status == "stopped"
    handle.run.resume()
    assert shared["calls"] == ["a", "b"]


def test_hooks_that_are_async_and_a_run_that_was_awaited():
    """However the run was begun, it is gone on with in the cell."""

    class Asks(Items):
        async def exec(self, shared, item):
            await asyncio.sleep(0)
            return super().exec(shared, item)

    shared = fresh(3)
    flow = Flow(Asks(), name="F")
    with pytest.raises(ValueError, match="no"):
        asyncio.run(flow.run_async(shared))
    shared["failing"].clear()
    flow.last_run.resume()
    assert shared["calls"] == [1, 2, 3, 3, 4]


def test_a_node_that_was_run_alone():
    """The object itself goes on, as it was the object itself that ran."""
    shared = fresh(2)
    node = Items()
    with pytest.raises(ValueError, match="no"):
        node.run(shared)
    shared["failing"].clear()
    node.last_run.resume()
    assert shared["results"] == [10, 20, 30, 40]
    assert shared["calls"] == [1, 2, 2, 3, 4]


@pytest.mark.parametrize("is_alone", [False, True])
def test_a_batch_from_a_generator_begins_anew(is_alone):
    """The generator was closed as the run failed, so ``prep`` makes another, with or without a flow around the node."""
    shared = fresh(3, items=lambda: (item for item in [1, 2, 3]))
    run = stopped(Items() if is_alone else Flow(Items(), name="F"), shared)
    run.resume()
    assert shared["calls"] == [1, 2, 3, 1, 2, 3]
    assert shared["results"] == [10, 20, 30]
    assert run.batch("Items").counts == {"ok": 3}


def test_it_may_fail_again():
    """Then with what it failed of now, and it can be gone on with once more."""
    shared = fresh("a", "b")
    flow = chain(Step(name="a"), Step(name="b"))
    with pytest.raises(ValueError, match="no"):
        flow.run(shared)
    shared["failing"].discard("a")
    shared["error"] = LookupError("not here")
    with pytest.raises(LookupError, match="not here"):
        flow.last_run.resume()
    assert (flow.last_run.status, repr(flow.last_run.error)) == ("failed", "LookupError('not here')")
    assert flow.last_run.errors["error_type"].unique().tolist() == ["LookupError"]
    shared["failing"].clear()
    assert flow.last_run.resume() == "done"
    assert shared["calls"] == ["a", "a", "b", "b"]


def test_what_is_changed_in_between_counts():
    """``shared``, a setting and an edge as they are when it goes on."""
    shared = fresh("b")
    second = Step(name="b")
    run = stopped(chain(Step(name="a"), second), shared)
    second - "done" >> Step(name="c")
    shared["done"] = ["edited"]
    run.resume()
    assert shared["done"] == ["edited", "b", "c"]


def test_a_run_that_came_to_its_end_has_nothing_to_go_on_with():
    """It says so, and calls nothing."""
    shared = fresh()
    flow = chain(Step(name="a"))
    flow.run(shared)
    with pytest.raises(RunStateError, match="the run of F finished; there is nothing to resume"):
        flow.last_run.resume()
    assert shared["calls"] == ["a"]


def test_a_run_that_still_goes_is_refused():
    """One driver at a time."""
    refused = []

    class Resumes(Node):
        def exec(self, _):
            try:
                self.last_run.resume()
            except RunStateError as exc:
                refused.append(str(exc))

    node = Resumes()
    node.run({})
    assert refused == ["the run of Resumes is still running; wait for it or stop it, then retry."]


def test_an_endless_flow_cannot_be_gone_on_with():
    """No hook was stopped there, so there is no place to go on at, and the error does not speak of one."""
    step = Step(name="a")
    step - "done" >> step
    flow = Flow(step, name="F", max_steps=3)
    with pytest.raises(MaxStepsError) as caught:
        flow.run(fresh())
    assert "resume" not in "".join(getattr(caught.value, "__notes__", []))
    with pytest.raises(RunStateError, match="cannot be resumed; run it again"):
        flow.last_run.resume()


def test_param_sets_from_a_generator_cannot_be_gone_on_with():
    """The generator was closed as the run failed, so nothing tells which sets were left."""

    class Sets(BatchFlow):
        def prep(self, shared):
            return ({"n": n} for n in range(3))

    shared = fresh("a")
    run = stopped(Sets(Step(name="a"), name="F"), shared)
    with pytest.raises(RunStateError, match="the run of F cannot be resumed; run it again"):
        run.resume()
    assert shared["calls"] == ["a"]


def test_what_hooks_had_set_on_the_node_is_there():
    """What ``prep`` put in the place of a value from ``__init__`` is what ``exec`` finds."""

    class Prepared(Step):
        def __init__(self):
            super().__init__(name="b")
            self.prompt = "none yet"

        def prep(self, shared):
            self.prompt = "prepared"

        def post(self, shared, prep_res, exec_res):
            shared["done"].append(self.prompt)

    shared = fresh("b")
    stopped(chain(Step(name="a"), Prepared()), shared).resume()
    assert shared["done"] == ["a", "prepared"]


def test_two_failures_side_by_side_are_both_done_again():
    """What failed beside the error that ended the run is no error any more either."""
    begun = threading.Barrier(2, timeout=PATIENCE)

    class Sets(BatchFlow):
        def prep(self, shared):
            return [{"n": 0}, {"n": 1}]

    class Fails(Node):
        def exec(self, shared, _):
            if shared["failing"]:
                begun.wait()
                raise ValueError(self.params["n"])
            return self.params["n"]

    shared = fresh(0, 1)
    run = stopped(Flow(Sets(Fails(), name="sets", max_concurrency=2), name="F"), shared)
    run.resume()
    assert run.batch("sets").results == [0, 1]
    assert len(run.errors) == 0


class Readable:
    """Items that can be read again and again, and whose reading fails once."""

    def __init__(self, error):
        self.error, self.failing = error, True

    def __iter__(self):
        for n in range(4):
            if n == 2 and self.failing:
                self.failing = False
                raise self.error
            yield n


def reading(kind, width, source):
    """A batch of items or of param sets whose ``prep`` returns what ``source`` does."""

    class Sets(BatchFlow):
        item_key = "n"

        def prep(self, shared):
            return source()

    class Numbers(Node):
        def exec(self, shared, _):
            shared["calls"].append(self.params["n"])
            return self.params["n"]

    class Read(Items):
        def prep(self, shared):
            return source()

    return Sets(Numbers(), max_concurrency=width) if kind == "param sets" else Read(max_concurrency=width)


kinds_and_widths = [(kind, width) for kind in ("items", "param sets") for width in (1, 2)]


@pytest.mark.parametrize("error", [OSError("disk"), KeyboardInterrupt()], ids=["error", "interrupt"])
@pytest.mark.parametrize(("kind", "width"), kinds_and_widths)
@pytest.mark.parametrize("is_iterator", [False, True])
def test_an_input_that_could_not_be_read(error, kind, width, is_iterator):
    """What was left to read is read, and nothing is left out; an iterator, which cannot be read again, begins anew."""
    source = Readable(error)
    inner = reading(kind, width, lambda: map(int, source) if is_iterator else source)
    shared = fresh()
    run = stopped(Flow(inner, name="F"), shared, type(error))
    begun = shared["calls"][:]
    run.resume()
    left = [0, 1, 2, 3] if is_iterator else [n for n in range(4) if n not in begun]
    assert sorted(shared["calls"][len(begun) :]) == left
    assert run.batch(inner).counts == {"ok": 4}
    assert len(run.errors) == 0


@pytest.mark.parametrize(("kind", "width"), kinds_and_widths)
def test_an_input_that_could_not_be_read_before_a_retry(kind, width):
    """A retry of its rows leaves it to be read to its end."""
    source = Readable(OSError("disk"))
    inner = reading(kind, width, lambda: source)
    run = stopped(Flow(inner, name="F"), fresh(), OSError)
    run.batch(inner).retry([0])
    run.resume()
    assert run.batch(inner).counts == {"ok": 4}


def test_a_larger_max_steps_counts():
    """What the flow may make is read when it goes on."""

    class Counts(Node):
        def post(self, shared, prep_res, exec_res):
            shared["n"] += 1
            if shared["n"] == 3 and shared.pop("failing", None):
                raise ValueError("no")
            return "again" if shared["n"] < 10 else "end"

    node = Counts()
    node - "again" >> node
    node - "end" >> Node()
    flow, shared = Flow(node, name="F", max_steps=5), {"n": 0, "failing": True}
    with pytest.raises(ValueError, match="no"):
        flow.run(shared)
    flow.max_steps = 100
    flow.last_run.resume()
    assert shared["n"] == 10


def test_while_rows_are_called_again():
    """One at a time, or a row would be called twice."""
    shared = fresh(2)
    run = stopped(Flow(Items(), name="F"), shared)
    with run._retrying, pytest.raises(RunStateError, match="rows of F are being retried"):
        run.resume()


# --- counting --------------------------------------------------------------------------------------------------------


def test_each_attempt_is_in_one_row():
    """The two rows of a resumed visit have the same number, and each has the attempts of its own part."""
    shared = fresh(3)
    run = stopped(chain(Step(name="a"), Items(max_retries=2)), shared)
    run.resume()
    steps = run.steps[["path", "visit", "status", "attempts"]]
    assert steps.values.tolist() == [
        ["F/a", 1, "ok", 1],
        ["F/Items", 1, "failed", 4],
        ["F", 1, "failed", 0],
        ["F/Items", 1, "ok", 2],
        ["F", 1, "ok", 0],
    ]
    assert [row.attempts for row in run.batch("Items")] == [1, 1, 3, 1]
    assert run.calls == len(shared["calls"]) == 7


def test_a_post_that_is_run_again_has_no_attempts():
    """If only ``post`` is left, the row of the second part has no attempt and no seconds of prep and exec."""

    class Posts(Step):
        def post(self, shared, prep_res, exec_res):
            if shared["posts"].pop():
                raise ValueError("no")

    shared = fresh() | {"posts": [False, True, True]}
    flow = chain(Posts(name="a"))
    with pytest.raises(ValueError, match="no"):
        flow.run(shared)
    with pytest.raises(ValueError, match="no"):
        flow.last_run.resume()
    flow.last_run.resume()
    steps = flow.last_run.steps
    steps = steps[steps["path"] == "F/a"]
    assert steps["attempts"].tolist() == [1, 0, 0]
    assert steps[["prep_s", "exec_s"]][1:].values.tolist() == [[0, 0], [0, 0]]
    assert flow.last_run.calls == len(shared["calls"]) == 1


@pytest.mark.parametrize("kind", [Flow, BatchFlow])
def test_a_post_of_a_flow_that_is_run_again_takes_no_attempts_from_the_nodes_after_it(kind):
    """The nodes that follow count their attempts as in any run."""

    class Posts(kind):
        def post(self, shared, prep_res, exec_res):
            if shared["failing"]:
                raise ValueError("no")
            return "done"

    shared = fresh("post")
    run = stopped(chain(Posts(Step(name="in"), name="flow"), Step(name="after")), shared)
    run.resume()
    assert run.steps.set_index("path")["attempts"]["F/after"] == 1
    assert run.calls == len(shared["calls"])


@pytest.mark.parametrize("width", [1, 2])
def test_the_seconds_of_a_set_are_those_of_all_its_parts(width):
    """A param set that was resumed took at least as long as its items, those before the failure included."""

    class Sets(BatchFlow):
        def prep(self, shared):
            return [{"n": 0}]

    shared = fresh(4)
    flow = Sets(start=Items(), max_concurrency=width)
    run = stopped(flow, shared)
    run.resume()
    (row,) = run.batch(flow)
    assert row.seconds >= sum(item.seconds for item in run.batch("Items")[:3])
    assert row.attempts == 2


@pytest.mark.parametrize("width", [1, 2])
def test_a_post_that_failed_gets_the_results_of_rows_that_were_retried(width):
    """It could not use None in place of a result. After a retry of the row, it gets all results; nothing is called."""

    class Sum(Items):
        def post(self, shared, prep_res, exec_res):
            shared["results"] = sum(exec_res)

    shared = fresh(2)
    run = stopped(Flow(Sum(name="S", on_error="keep", max_concurrency=width)), shared, TypeError)
    run.batch("S").retry_failed()
    shared["calls"].clear()
    run.resume()
    assert shared["results"] == 100
    assert shared["calls"] == []
    assert list(run.steps[run.steps["node"] == "S"]["attempts"]) == [4, 0]


def test_a_generator_that_failed_before_its_first_param_set():
    """Its prep is run again."""
    broken = [True]

    class Sets(BatchFlow):
        def prep(self, shared):
            if broken:
                raise ValueError(broken.pop())
            yield {"n": 1}

    flow = Flow(Sets(start=Node()))
    with pytest.raises(ValueError, match="True"):
        flow.run({})
    flow.last_run.resume()
    assert flow.last_run.batch("Sets").df["status"].tolist() == ["ok"]
