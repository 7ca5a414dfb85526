"""Rows that are called again after an interrupt at an awkward moment, or with an input that is read in pieces."""

import threading

import pandas as pd
import pytest

from llmflow_nb import AllFailedError, BatchFlow, BatchNode, Node, RowError, pocketflow
from tests.engine.helpers import PATIENCE


class InterruptAt:
    """A subscriber that interrupts the run at the n-th event of a kind."""

    def __init__(self, kind, n, status=""):
        self.kind, self.left, self.status = kind, n, status

    def handle(self, event):
        if event.kind == self.kind and (not self.status or event.status == self.status):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt


class Sets(BatchFlow):
    def prep(self, shared):
        return [{self.name: 0}, {self.name: 1}]


class Sized:
    """A container with a length, whose iterator is a generator."""

    def __len__(self):
        return 4

    def __iter__(self):
        yield from range(4)


def statuses(result):
    return [item.status for item in result]


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize(
    "source",
    [lambda: pd.DataFrame({"n": range(4)}), lambda: pd.Series(range(4)), Sized],
    ids=["frame", "series", "sized"],
)
def test_rows_that_were_not_reached_are_called(source, width, keep):
    """After a failure, retry() goes on reading the input where it stopped: no row of it is lost."""

    class Items(BatchNode):
        is_mended = False

        def prep(self, shared):
            return source()

        def exec(self, item):
            n = item["n"] if isinstance(item, dict) else item
            if n == 1 and not self.is_mended:
                raise LookupError(n)
            return n

    node = Items(max_concurrency=width, keep_items=keep)
    with pytest.raises(LookupError):
        node.run({})
    result = node.last_run.batch(node)
    assert len(result) == 4
    result.retry(is_mended=True)
    assert (statuses(result), result.results) == (["ok"] * 4, [0, 1, 2, 3])


def test_a_visit_that_had_not_begun_is_not_taken_for_done():
    """A param set that is interrupted before its prep gets a result of its own."""
    calls = []

    class Step(Node):
        def exec(self, _):
            calls.append(self.params["F"])
            return self.params["F"]

    flow = Sets(Step(), name="F")
    with pytest.raises(KeyboardInterrupt):
        flow.run({}, subscribers=[InterruptAt("visit_started", 3)])  # of the flow, and of each of its sets
    result = flow.last_run.batch(flow).retry()
    assert (calls, result.results) == ([0, 1], [0, 1])


def test_an_answer_that_came_as_the_flow_drained_is_not_paid_again():
    """A param set that was stopped after its exec had answered goes on with that answer."""
    failed, calls = threading.Event(), []

    class Told:
        def handle(self, event):
            if event.kind == "call_finished" and event.status == "failed":
                failed.set()

    class Step(Node):
        is_mended = False

        def exec(self, _):
            calls.append(self.params["F"])
            if not self.is_mended:
                if self.params["F"] == 0:
                    raise LookupError
                assert failed.wait(PATIENCE)
            return self.params["F"]

    step = Step()
    flow = Sets(step, name="F", max_concurrency=2)
    with pytest.raises(LookupError):
        flow.run({}, subscribers=[Told()])
    step.is_mended = True
    result = flow.last_run.batch(flow).retry()
    assert (sorted(calls), result.results) == ([0, 0, 1], [0, 1])


class Letters(BatchNode):
    calls: list

    def prep(self, shared):
        return ["a", "b"]

    def exec(self, letter):
        call = (*self.params.values(), letter)
        self.calls.append(call)
        if call in self.failing:
            raise LookupError(call)
        return call


@pytest.mark.parametrize("width", [1, 2])
def test_an_inner_batch_flow_whose_sets_all_failed_goes_on(width):
    """What had come through inside of it is not called again."""
    node = Letters()
    node.calls, node.failing = [], {(0, 0, "b"), (0, 1, "b")}
    inner = Sets(node, name="I", on_error="keep", max_concurrency=width)
    flow = Sets(inner, name="O", on_error="keep")
    flow.run({})
    result = flow.last_run.batch(flow)
    assert statuses(result) == ["failed", "ok"]
    node.calls, node.failing = [], set()
    result.retry_failed()
    assert sorted(node.calls) == [(0, 0, "b"), (0, 1, "b")]
    assert statuses(result) == ["ok", "ok"]
    assert (len(flow.last_run.batch(node)), len(flow.last_run.batch(inner))) == (8, 4)


def test_a_retry_that_was_interrupted_leaves_nothing_behind():
    """The next retry calls each row once, also within a param set."""

    class Step(Letters):
        def exec(self, letter):
            self.calls.append(letter)
            if self.failing:
                raise self.failing[0]
            return letter

    node = Step(on_error="keep")
    node.calls, node.failing = [], [LookupError()]
    flow = Sets(node, name="F", on_error="keep")
    with pytest.raises(AllFailedError):
        flow.run({})
    result = flow.last_run.batch(flow)
    node.failing = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        result.retry()
    node.calls.clear()
    node.failing = []
    result.retry()
    assert (node.calls, statuses(result)) == (["a", "b", "a", "b"], ["ok", "ok"])


@pytest.mark.parametrize("width", [1, 2])
def test_a_param_set_that_was_only_announced_is_taken_up(width):
    """An interrupt between an element and its walk leaves a row that retry() takes up."""

    class Step(Node):
        def exec(self, _):
            return self.params["F"]

    flow = Sets(Step(), name="F", max_concurrency=width)
    with pytest.raises(KeyboardInterrupt):
        flow.run({}, subscribers=[InterruptAt("param_set_started", 2)])
    result = flow.last_run.batch(flow).retry()
    assert (statuses(result), result.results) == (["ok", "ok"], [0, 1])
    assert result.retry().counts == {"ok": 2}


def test_the_item_of_an_interrupted_call_is_kept():
    """With keep_items=False too: what has no result can be called again."""

    class Items(BatchNode):
        is_mended = False

        def prep(self, shared):
            return iter(range(3))

        def exec(self, item):
            if item == 1 and not self.is_mended:
                raise KeyboardInterrupt
            return item

    node = Items(keep_items=False)
    with pytest.raises(KeyboardInterrupt):
        node.run({})
    assert node.last_run.batch(node).retry(is_mended=True).results == [0, 1]


def test_prep_is_not_run_again_for_an_exec_that_was_interrupted():
    """The exec gets the input that it had, after an interrupt as after an exception."""
    got = []

    class Step(Node):
        is_mended = False

        def prep(self, shared):
            return shared["queue"].pop(0)

        def exec(self, item):
            got.append(item)
            if not self.is_mended:
                raise KeyboardInterrupt

    step = Step()
    flow = BatchFlow(step)
    flow.prep = lambda shared: [{"n": 0}]
    with pytest.raises(KeyboardInterrupt):
        flow.run({"queue": ["first", "second"]})
    step.is_mended = True
    flow.last_run.batch(flow).retry()
    assert got == ["first", "first"]


def test_the_error_of_an_attempt_outlives_an_interrupt():
    """An interrupt at the very moment in which a failed attempt is told of leaves its error in the row."""

    class Step(BatchNode):
        def prep(self, shared):
            return [0]

        def exec(self, item):
            raise LookupError("busy")

    node = Step(max_retries=2)
    with pytest.raises(KeyboardInterrupt):
        node.run({}, subscribers=[InterruptAt("attempt_finished", 1, "failed")])
    (row,) = node.last_run.batch(node)
    assert (row.status, row.attempts, str(row.error)) == ("cancelled", 1, "busy")


def test_retry_failed_of_a_running_run_is_refused():
    """Also where nothing has failed yet."""
    seen = []

    class Step(Node):
        def exec(self, _):
            with pytest.raises(RuntimeError, match="still running"):
                flow.last_run.retry_failed()
            seen.append(True)

    flow = Sets(Step(), name="F")
    flow.run({})
    assert seen


# ---- what came of a param set that begins anew -----------------------------------------------------------------------


def test_a_param_set_that_begins_anew_has_its_rows_once():
    """The rows of its earlier walk give way to the new ones: none is left behind, or called again later."""
    calls, failing = [], {("a", 2)}

    class Ask(BatchNode):
        def prep(self, shared):
            return [1, 2, 3]

        def exec(self, item):
            calls.append((self.params["t"], item))
            if calls[-1] in failing:
                raise LookupError(item)
            return item

        def post(self, shared, prep_res, exec_res):
            shared[self.params["t"]] = exec_res

    class Topics(BatchFlow):
        def prep(self, shared):
            return [{"t": "a"}, {"t": "b"}]

    flow = Topics(Ask(max_concurrency=2), on_error="keep")
    flow.run({})
    failing.clear()
    run = flow.last_run.retry_failed()
    asked = run.batch("Ask")
    assert (len(asked), asked.counts, asked.df["t"].tolist()) == (6, {"ok": 6}, ["b"] * 3 + ["a"] * 3)
    assert run.errors.empty
    assert run.calls == len(calls)
    calls.clear()
    run.retry_failed()
    assert calls == []


def test_errors_are_gone_once_their_cause_is_mended():
    """After a retry that brought all rows through, nothing is left in run.errors, of the flows around neither."""

    class Step(Node):
        is_mended = False

        def exec(self, _):
            if not self.is_mended:
                raise LookupError
            return 1

    step = Step()
    flow = Sets(step, name="F")
    with pytest.raises(LookupError):
        flow.run({})
    assert not flow.last_run.errors.empty
    step.is_mended = True
    flow.last_run.batch(flow).retry()
    assert flow.last_run.errors.empty


@pytest.mark.parametrize("mask", [[False, True, False], pd.array([False, True, False]), pd.Index([False, True, False])])
def test_a_mask_of_any_kind(mask):
    """A list or an array of True and False is a mask over the rows, and no labels."""
    calls = []

    class Items(BatchNode):
        def prep(self, shared):
            return [10, 20, 30]

        def exec(self, item):
            calls.append(item)

    node = Items()
    node.run({})
    calls.clear()
    node.last_run.batch(node).retry(mask)
    assert calls == [20]
    with pytest.raises(RowError, match=r"a mask must have one value for each of the 3 rows of \.df"):
        node.last_run.batch(node).retry(mask[:2])


def test_nodes_in_the_names_of_pocketflow_are_retried():
    """A failure of a retry is a row there too, though those nodes have no setting for it."""
    calls = []

    class Items(pocketflow.BatchNode):
        def prep(self, shared):
            return [1, 2]

        def exec(self, item):
            calls.append(item)
            raise LookupError(item)

    node = Items()
    with pytest.raises(LookupError):
        node.run({})
    calls.clear()
    assert node.last_run.batch(node).retry().counts == {"failed": 2}
    assert calls == [1, 2]


def test_two_retries_at_once_are_refused():
    """Rows are called again by one at a time."""

    class Step(BatchNode):
        inner = None

        def prep(self, shared):
            return [1]

        def exec(self, item):
            if self.inner:
                with pytest.raises(RuntimeError, match="already being retried"):
                    self.inner[0].retry([0])
                self.inner.append("refused")

    node = Step()
    node.run({})
    result = node.last_run.batch(node)
    told = [result]
    result.retry([0], inner=told)
    assert told == [result, "refused"]


def test_settings_of_the_class():
    """A class may have its settings in its body; an argument other than the default wins over them."""

    class Busy(BatchNode):
        max_retries = 3
        on_error = "keep"
        max_concurrency = 8

    assert (Busy().max_retries, Busy().on_error, Busy().max_concurrency) == (3, "keep", 8)
    assert (Busy(max_retries=2).max_retries, Busy(max_concurrency=None).max_concurrency) == (2, None)

    class Wrong(BatchNode):
        on_error = "kep"

    with pytest.raises(ValueError, match="on_error must be 'raise' or 'keep'"):
        Wrong()
