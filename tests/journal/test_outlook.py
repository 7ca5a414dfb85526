"""What a run with a journal says before its first call of a batch node: how many calls it will make, and why."""

import threading

import pandas as pd
import pytest

from llmflow_nb import BatchFlow, BatchNode, Flow, Node
from llmflow_nb.notebook.lines import LineReader, one_line


class Label(BatchNode):
    def prep(self, shared):
        return shared["texts"]

    def exec(self, text):
        return f"label of {text}"


class AtFirstCall:
    """Notes what the record and the progress line say when the first call is made."""

    def __init__(self, flow):
        self.flow = flow
        self.notes = self.line = None

    def handle(self, event):
        if event.kind == "attempt_started" and self.notes is None:
            run = self.flow.last_run
            self.notes = [text for _, text in run.notes]
            self.line = one_line(run, LineReader(run).lines(), going=True)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "runs.db"


def run(flow, shared, file, **options):
    """Run a flow. Return what it said at its first call, and at its end."""
    seen = AtFirstCall(flow)
    flow.run(shared, journal=file, progress=False, subscribers=[seen], **options)
    return seen.notes, [text for _, text in flow.last_run.notes]


def flow_of(node):
    return Flow(start=node, name="flow")


@pytest.mark.parametrize("at_once", [1, 4])
def test_before_the_first_call(at_once, file):
    """The items behind it are looked up, so the numbers are those of the whole visit; afterwards they are past."""
    flow = flow_of(Label(max_concurrency=at_once))
    run(flow, {"texts": ["a", "b", "c"]}, file)
    said = run(flow, {"texts": ["a", "new", "b", "c", "other", "c"]}, file)
    assert said == (
        ["3 of 6 calls answered by runs.db; Label: 3 to call, 2: new input or params; "
         "1: called more often than before, or with another shared, or fresh="],
        ["3 of 6 calls answered by runs.db; Label: 3 called, 2: new input or params; "
         "1: called more often than before, or with another shared, or fresh="],
    )  # fmt: skip


def test_an_attribute_has_changed(file):
    """Then all items are to be called, and the attribute is named."""
    flow = flow_of(Label())
    run(flow, {"texts": ["a", "b"]}, file)
    flow.start_node.prompt = "short"
    before, after = run(flow, {"texts": ["a", "b"]}, file)
    assert before == ["0 of 2 calls answered by runs.db; Label: 2 to call, changed: self.prompt"]
    assert after == ["0 of 2 calls answered by runs.db; Label: 2 called, changed: self.prompt"]


def test_fresh(file):
    """The reason is the argument."""
    flow = flow_of(Label())
    run(flow, {"texts": ["a", "b"]}, file)
    before, _ = run(flow, {"texts": ["a", "b"]}, file, fresh="Label")
    assert before == ["0 of 2 calls answered by runs.db; Label: 2 to call, fresh='Label'"]


def test_the_first_run_of_a_node(file):
    """There is nothing to compare with, so nothing is said."""
    assert run(flow_of(Label()), {"texts": ["a"]}, file) == ([], ["0 of 1 calls answered by runs.db"])


def test_an_input_that_is_read_once(file):
    """A generator is not read before its items are called; the end of the run says where the reasons are."""

    class Reads(Label):
        def prep(self, shared):
            return (text for text in shared["texts"])

    flow = flow_of(Reads())
    run(flow, {"texts": ["a"]}, file)
    assert run(flow, {"texts": ["a", "b"]}, file) == (
        [],
        ["1 of 2 calls answered by runs.db; Journal(...).why() says why the others were made"],
    )


def test_a_series(file):
    """The rows of pandas objects are looked up like a list."""
    flow = flow_of(Label())
    run(flow, {"texts": pd.Series(["a", "b"])}, file)
    before, _ = run(flow, {"texts": pd.Series(["c", "a", "b"])}, file)
    assert before == ["2 of 3 calls answered by runs.db; Label: 1 to call, new input or params"]


def test_an_item_that_cannot_be_compared(file):
    """It counts as one to call."""
    flow = flow_of(Label())
    run(flow, {"texts": ["a"]}, file)
    before, _ = run(flow, {"texts": ["b", threading.Lock(), "a"]}, file)
    assert before[0].startswith("1 of 3 calls answered by runs.db; Label: 2 to call, ")


def test_several_visits(file):
    """Their numbers are added up."""

    class Twice(BatchFlow):
        def prep(self, shared):
            return [{"n": 1}, {"n": 2}]

    flow = Twice(start=Label(), name="twice")
    run(flow, {"texts": ["a", "b"]}, file)
    before, after = run(flow, {"texts": ["c", "a"]}, file)
    assert before == ["1 of 2 calls answered by runs.db; Label: 1 to call, new input or params"]
    assert after == ["2 of 4 calls answered by runs.db; Label: 2 called, new input or params"]


def test_calls_of_other_nodes(file):
    """If calls were made that are not explained, the end of the run says where the reasons are."""

    class Judge(Node):
        def exec(self, _):
            return 1

    label = Label()
    label >> Judge()
    run(flow_of(label), {"texts": ["a"]}, file)
    label.successors["default"].level = 2
    _, after = run(flow_of(label), {"texts": ["a", "b"]}, file)
    assert after == ["1 of 3 calls answered by runs.db; Journal(...).why() says why the others were made"]


def test_the_progress_line(file):
    """It has the outlook while the run is in progress, and the number of replayed items, also at the end."""
    flow = flow_of(Label())
    flow.run({"texts": ["a", "b"]}, journal=file, progress=False)
    seen = AtFirstCall(flow)
    flow.run({"texts": ["a", "b", "c"]}, journal=file, progress=False, subscribers=[seen])
    assert "Label 2/3 items, 2 replayed, 1 running" in seen.line
    assert "2 of 3 calls answered by runs.db; Label: 1 to call, new input or params" in seen.line
    line = one_line(flow.last_run, LineReader(flow.last_run).lines(), going=False)
    assert "Label 3/3 items, 2 replayed" in line
    assert "to call" not in line


def test_retries_say_nothing(file):
    """The rows that are retried are known anyway."""
    flow = flow_of(Label())
    run(flow, {"texts": ["a", "b"]}, file)
    batch = flow.last_run.batch("Label")
    batch.retry([0], progress=False)
    assert [path for path, _ in flow.last_run.notes] == ["flow", "flow/Label", "flow"]


def test_a_range(file):
    """A collection that is no list is read again for it."""
    flow = flow_of(Label())
    run(flow, {"texts": range(20)}, file)
    before, _ = run(flow, {"texts": range(10, 40)}, file)
    assert before == ["10 of 30 calls answered by runs.db; Label: 20 to call, new input or params"]
