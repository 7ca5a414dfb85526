"""`batch.debug(row)`: a stepper at one row of a batch, on a copy of what there was."""

from time import perf_counter

import pandas as pd
import pytest

from llmflow_nb import BatchFlow, BatchNode, Flow, Node, RowError


class Invert(BatchNode):
    def prep(self, shared):
        return shared["items"]

    def exec(self, item):
        return 1 / item

    def post(self, shared, prep_res, exec_res):
        shared["out"] = exec_res


def test_a_row_of_a_batch_node():
    """It stands before exec with the item of that row alone; what is tried there changes nothing of the run."""
    node = Invert(on_error="keep")
    shared = {"items": [1, 0, 2]}
    flow = Flow(node, name="F")
    flow.run(shared)
    stepper = flow.last_run.batch(node).debug(1)
    assert (stepper.place.path, stepper.place.phase, stepper.pending.prep_res) == ("F/Invert", "after prep", [0])
    assert stepper.into().note == "item 1: failed, ZeroDivisionError: division by zero"
    stepper.goto(0)
    stepper.mock([7])
    stepper.run()
    assert stepper.shared["out"] == [7]
    assert shared["out"] == [1.0, None, 0.5]
    assert flow.last_run.batch(node).df["status"].tolist() == ["ok", "failed", "ok"]
    assert flow.last_run is not stepper.record


def test_the_seconds_of_a_row():
    """The visit begins when the stepper is opened, not when the machine was started."""
    flow = Flow(Invert(), name="F")
    flow.run({"items": [1, 2]})
    before = perf_counter()
    stepper = flow.last_run.batch("Invert").debug(1)
    stepper.run()
    assert stepper.record.visits[-1].seconds <= perf_counter() - before


class Each(BatchFlow):
    item_key = "n"

    def prep(self, shared):
        return [1, 2, 3]


def each(calls, fail=True):
    class First(Node):
        def exec(self, _):
            calls.append(("First", self.params["n"]))
            return self.params["n"]

        def post(self, shared, prep_res, exec_res):
            shared[f"first {exec_res}"] = exec_res

    class Second(Node):
        def prep(self, shared):
            return shared[f"first {self.params['n']}"]

        def exec(self, n):
            calls.append(("Second", n))
            if n == 2 and fail:
                raise ValueError("two")
            return n * 10

        def post(self, shared, prep_res, exec_res):
            shared[f"second {prep_res}"] = exec_res

    first = First()
    first >> Second()
    return Each(Flow(first, name="Inner"), on_error="keep", name="Each")


def test_a_row_of_a_batch_flow_is_at_the_node_that_failed():
    """It stands where the param set failed, with what shared held then; the nodes before are not called again."""
    calls = []
    flow, shared = each(calls), {}
    flow.run(shared)
    del calls[:]
    stepper = flow.last_run.batch(flow).debug(1)
    assert stepper.place.path == "Each/Inner/Second"
    assert dict(stepper.place.params) == {"n": 2}
    assert stepper.shared == {"first 1": 1, "second 1": 10, "first 2": 2}
    assert isinstance(stepper.into().error, ValueError)
    stepper.mock(99)
    stepper.run()
    assert stepper.place.is_end
    assert stepper.shared["second 2"] == 99
    assert "second 2" not in shared
    assert calls == [("Second", 2)]
    assert flow.last_run.batch(flow).df["status"].tolist() == ["ok", "failed", "ok"]


def test_a_row_that_did_not_fail_is_walked_from_its_start():
    """A param set that came through is opened before its first node."""
    calls = []
    flow = each(calls)
    flow.run({})
    del calls[:]
    stepper = flow.last_run.batch(flow).debug(2)
    assert str(stepper.place).startswith("Each/Inner/First  visit 1, param set 3 of 3, with n=3  before prep")
    stepper.run()
    assert calls == [("First", 3), ("Second", 3)]


def test_rows_that_cannot_be_opened():
    """A row that is not there, and one whose item was not kept, are refused with the reason."""
    node = Invert(keep_items=False)
    node.run({"items": iter([1, 2])})
    result = node.last_run.batch(node)
    with pytest.raises(RowError, match="has no row 7"):
        result.debug(7)
    with pytest.raises(RowError, match="the item of row 0 was not kept"):
        result.debug(0)


def test_a_row_by_its_label():
    """The labels are those of the table, as for retry."""
    node = Invert(on_error="keep")
    node.run({"items": pd.Series([1, 0, 2], index=["a", "b", "a"])})
    result = node.last_run.batch(node)
    assert result.debug(result.errors.index[0]).pending.prep_res == [0]
    with pytest.raises(RowError):
        result.debug("a")
    with pytest.raises(RowError):
        result.debug("z")
