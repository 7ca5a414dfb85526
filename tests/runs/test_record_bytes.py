"""A record is bounded by bytes as well as by visits."""

import itertools

import pytest

from llmflow_nb import BatchNode, Flow
from llmflow_nb.runs.sizes import MAX_BYTES

LARGE = MAX_BYTES // 20


class Loop(BatchNode):
    """Makes one large result at each visit, and comes back to itself."""

    def prep(self, shared):
        return [shared["n"]]

    def exec(self, n):
        return self.params["make"](n)

    def post(self, shared, prep_res, exec_res):
        shared["n"] += 1
        return "again" if shared["n"] < 50 else "done"


def looped(make):
    """The record of 50 visits."""
    node = Loop()
    node - "again" >> node
    node - "done" >> None
    flow = Flow(node)
    flow.set_params({"make": make})
    flow.run({"n": 0})
    return flow.last_run


@pytest.mark.parametrize(
    "make",
    [
        lambda n: bytes(LARGE),
        lambda n: {"pages": bytes(LARGE)},
        lambda n: [bytes(LARGE // 4)] * 4,
        lambda n: {"choices": [{"message": {"content": bytes(LARGE)}}]},
    ],
    ids=["bytes", "dict", "list", "nested"],
)
def test_large_results_of_a_loop_are_dropped(make):
    """Of a loop of large batches the latest are kept, about 1 GB of them, and the calls go on counting."""
    run = looped(make)
    rows = run.batch("Loop")
    assert 10 <= len(rows) <= 21
    assert rows[-1].item == 49
    assert rows.df["visit"].tolist() == list(range(51 - len(rows), 51))
    assert (run.calls, run.dropped_batches) == (50, 50 - len(rows))


def test_one_large_result_is_counted_once():
    """A value that every visit returns takes its bytes once, so nothing is dropped for it."""
    same = bytes(LARGE)
    assert len(looped(lambda n: same).batch("Loop")) == 50


def test_latest_visit_of_every_node_stays():
    """What each node did last is kept, whatever its size."""

    class Once(Loop):
        def post(self, shared, prep_res, exec_res):
            return None

    nodes = [Once(name=f"Once{n}") for n in range(30)]
    for a, b in itertools.pairwise(nodes):
        a >> b
    flow = Flow(nodes[0])
    flow.set_params({"make": lambda n: bytes(LARGE)})
    flow.run({"n": 0})
    assert [len(batch) for batch in flow.last_run.batches] == [1] * 30


def test_a_value_that_refuses_to_be_looked_at():
    """An estimate that fails does not end the run."""

    class Closed:
        __dict__ = property(lambda self: 1 / 0)

    assert len(looped(lambda n: Closed()).batch("Loop")) == 50
