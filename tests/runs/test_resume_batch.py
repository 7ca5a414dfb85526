"""`BatchResult.resume`: post and what follows, once more, with the results of rows that were retried."""

import pytest

from llmflow_nb import AllFailedError, BatchFlow, BatchNode, Flow, Node, RunStateError


class Ask(BatchNode):
    """Fails for the items in ``shared["failing"]``."""

    def prep(self, shared):
        return shared["items"]() if callable(shared["items"]) else shared["items"]

    def exec(self, shared, item):
        shared["calls"].append(item)
        if item in shared["failing"]:
            raise ValueError(f"no {item}")
        return item * 10

    def post(self, shared, items, results):
        shared["results"] = results


class Sum(Node):
    def prep(self, shared):
        return shared["results"]

    def exec(self, shared, results):
        shared["calls"].append("sum")
        return sum(result or 0 for result in results)

    def post(self, shared, results, total):
        shared["total"] = total
        return "done"


def ran(make_flow=Flow, items=(1, 2, 3), failing=(2, 3), **settings):
    """Run a batch that keeps its failures, and a node that uses its results. Then forget the calls."""
    ask = Ask(on_error="keep", **settings)
    ask >> Sum()
    flow = make_flow(ask)
    shared = {"items": items, "failing": set(failing), "calls": []}
    flow.run(shared)
    shared["calls"].clear()
    return flow.last_run, shared


FLOWS = {
    "one flow": (Flow, {}),
    "side by side": (Flow, {"max_concurrency": 3}),
    "an inner flow": (lambda ask: Flow(Flow(ask, name="inner")), {}),
    "a generator": (Flow, {"items": lambda: iter((1, 2, 3))}),
}


@pytest.mark.parametrize("kind", FLOWS)
def test_post_and_what_follows_run_with_the_repaired_rows(kind):
    """No row is called; the nodes after the batch are; the last action is returned and the record has it all."""
    make_flow, settings = FLOWS[kind]
    run, shared = ran(make_flow, **settings)
    assert shared["total"] == 10
    shared["failing"].clear()
    batch = run.batch("Ask").retry_failed()
    shared["calls"].clear()
    assert batch.resume() == "done"
    assert shared["calls"] == ["sum"]
    assert (shared["results"], shared["total"]) == ([10, 20, 30], 60)
    assert (run.status, run.batch("Ask").counts) == ("ok", {"ok": 3})
    assert list(run.steps[run.steps["node"] == "Ask"]["attempts"]) == [3, 0]
    assert run.notes[-1][1] == "resumed with the results that retried rows have now"


def test_rows_that_still_fail_are_called_once_more():
    """If they fail again, post gets None for them, and the batch can be resumed again."""
    run, shared = ran()
    shared["failing"].remove(2)
    batch = run.batch("Ask").retry_failed()
    shared["calls"].clear()
    batch.resume()
    assert (shared["calls"], shared["total"]) == ([3, "sum"], 30)
    shared["failing"].clear()
    batch.resume()
    assert (shared["calls"][2:], shared["total"]) == ([3, "sum"], 60)


def test_a_run_that_failed_after_the_batch_is_resumed_at_the_batch():
    """A node could not use None in place of a result: it runs again, with all results."""

    class Strict(Sum):
        def exec(self, shared, results):
            return sum(results)

    ask = Ask(on_error="keep")
    ask >> Strict()
    flow, shared = Flow(ask), {"items": [1, 2], "failing": {2}, "calls": []}
    with pytest.raises(TypeError):
        flow.run(shared)
    shared["failing"].clear()
    flow.last_run.batch("Ask").retry_failed().resume()
    assert (shared["total"], flow.last_run.status, flow.last_run.error) == (30, "ok", None)


@pytest.mark.parametrize("width", [1, 2])
def test_param_sets_that_were_retried(width):
    """The post of a batch flow gets the results of all param sets, and the nodes after it run."""

    class One(Node):
        def exec(self, shared, _):
            shared["calls"].append(self.params["n"])
            if self.params["n"] in shared["failing"]:
                raise ValueError("no")
            return self.params["n"]

    class Each(BatchFlow):
        def prep(self, shared):
            return [{"n": n} for n in range(1, 4)]

        def post(self, shared, sets, results):
            shared["results"] = results

    each = Each(One(), on_error="keep", max_concurrency=width)
    each >> Sum()
    flow, shared = Flow(each), {"failing": {2}, "calls": []}
    flow.run(shared)
    assert shared["total"] == 4
    shared["failing"].clear()
    batch = flow.last_run.batch("Each").retry_failed()
    shared["calls"].clear()
    assert batch.resume() == "done"
    assert (shared["calls"], shared["total"]) == (["sum"], 6)


def test_a_failure_that_ended_the_run_is_resumed():
    """Where the batch stopped at its first failure, it does what `Run.resume` does."""
    ask = Ask()
    ask >> Sum()
    flow, shared = Flow(ask), {"items": [1, 2, 3], "failing": {2}, "calls": []}
    with pytest.raises(ValueError, match="no 2"):
        flow.run(shared)
    shared["failing"].clear()
    shared["calls"].clear()
    flow.last_run.batch("Ask").resume()
    assert (shared["calls"], shared["total"]) == ([2, 3, "sum"], 60)


def test_all_rows_that_fail_again_end_the_run():
    """As in the run itself. It can be resumed."""
    ask, shared = Ask(on_error="keep"), {"items": [1], "failing": {1}, "calls": []}
    with pytest.raises(AllFailedError):
        ask.run(shared)
    with pytest.raises(AllFailedError):
        ask.last_run.batch("Ask").resume()
    shared["failing"].clear()
    ask.last_run.batch("Ask").resume()
    assert shared["results"] == [10]


def test_without_a_failure_there_is_nothing_to_resume():
    """Neither at first nor after a resume; the run is as it was."""
    run, _ = ran(failing=())
    for result in (run.batch("Ask"), ran()[0].batch("Ask")):
        result.run.shared["failing"].clear()
        if "failed" in result.counts:
            result.resume()
        with pytest.raises(RunStateError, match="Flow/Ask: no row has failed since its post ran"):
            result.resume()
        assert result.run.status == "ok"


def test_a_batch_inside_a_batch_flow_is_not_resumed_by_itself():
    """Its param set is retried instead, and the error says so."""
    each = BatchFlow(Ask(on_error="keep"), name="Each")
    each.prep = lambda shared: [{"n": 1}]
    each.run({"items": [1, 2], "failing": {2}, "calls": []})
    with pytest.raises(RunStateError, match=r"Each/Ask is inside the batch flow Each, .* retry param sets of Each"):
        each.last_run.batch("Ask").resume()


def test_a_class_that_was_edited_counts():
    """Post is that of the class as it is now."""
    run, shared = ran()
    run.node.start_node.post = lambda shared, items, results: shared.update(results=[1])
    shared["failing"].clear()
    run.batch("Ask").resume()
    assert shared["total"] == 1


def test_a_run_that_finished_says_how_its_rows_are_used():
    """`Run.resume` has nothing to resume, and names what has."""
    run, _ = ran()
    with pytest.raises(RunStateError, match=r"finished; .* call \.resume\(\) on their batch: it runs post"):
        run.resume()
