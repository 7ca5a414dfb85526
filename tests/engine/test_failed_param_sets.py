"""Param sets side by side, one of which fails or is cancelled."""

import pytest

from llmflow_nb import BatchFlow, BatchNode, Limiter, MaxStepsError, Node
from tests.engine.helpers import DRIVERS, Sets, When, go, is_free, numbered, statuses


@pytest.mark.parametrize("width", [2, 3])
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_failed_set_takes_nothing_from_the_others(driver, width):
    """Where a set fails while its calls wait for a limiter, later sets get all their results, at every run."""

    class Map(BatchNode):
        def prep(self, shared):
            return range(4)

        def exec(self, item):
            if self.params["n"] == 0:
                raise LookupError("first set")
            return item * 10

        def post(self, shared, prep_res, exec_res):
            shared["posts"].append((self.params["n"], exec_res))

    limiter = Limiter(1)
    flow = Sets(Map(max_concurrency=width, limiter=limiter), max_concurrency=2, on_error="keep")
    for _ in range(2):
        shared = {"sets": numbered(4), "posts": []}
        go(driver, flow, shared)
        assert sorted(shared["posts"]) == [(n, [0, 10, 20, 30]) for n in (1, 2, 3)]
        assert statuses(flow) == ["failed", "ok", "ok", "ok"]
        assert is_free(limiter)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_set_that_fails_while_the_next_is_pulled(driver):
    """Where a set of an inner flow fails and the next is to be pulled, the outer flow waits for its other sets."""

    class Step(Node):
        async def prep(self, shared):
            shared["preps"].append(self.params["n"])

        def post(self, shared, prep_res, exec_res):
            return "again" if self.params["n"] == 0 else "done"

    class Last(Node):
        async def prep(self, shared):
            shared["ends"].append(self.params["n"])

    class Inner(BatchFlow):
        async def prep(self, shared):
            async def pages():
                yield {"page": 0}
                yield {"page": 1}

            return pages()

    step = Step()
    step - "again" >> step
    step - "done" >> Last()
    inner = Inner(step, max_steps=3, max_concurrency=2)
    flow = Sets(inner, max_concurrency=2, on_error="keep")
    shared = {"sets": numbered(2), "preps": [], "ends": []}
    go(driver, flow, shared)

    assert statuses(flow) == ["failed", "ok"]
    assert shared["ends"] == [1, 1]
    assert shared["results"] == [None, [None, None]]
    assert [type(error) for error in flow.last_run.batch(flow).exceptions] == [MaxStepsError]
    assert flow.last_run.visits[-1].path == "Sets"


@pytest.mark.parametrize("is_async", [False, True])
def test_a_cancelled_set_keeps_its_last_result(is_async):
    """A set that is stopped because another one failed keeps what its last ``exec`` had given."""
    failed = When("attempt_finished", "failed")

    class Ask(Node):
        def exec(self, prep_res):
            if self.params["n"] == 0:
                raise LookupError("first set")
            failed.signal.wait()
            return "paid for"

    class AskAsync(Node):
        async def exec(self, prep_res):
            if self.params["n"] == 0:
                raise LookupError("first set")
            await failed.signal.seen()
            return "paid for"

    flow = Sets((AskAsync if is_async else Ask)(), max_concurrency=2)
    with pytest.raises(LookupError, match="first set"):
        flow.run({"sets": numbered(2)}, subscribers=[failed])
    assert [(row.status, row.result) for row in flow.last_run.batch(flow)] == [
        ("failed", None),
        ("cancelled", "paid for"),
    ]
