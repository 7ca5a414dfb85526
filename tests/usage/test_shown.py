"""What calls have used, wherever a run, a batch, a plan, a graph, a journal and the progress are shown."""

import pytest

from llmflow_nb import BatchNode, Flow, Journal, Node, spend
from llmflow_nb.notebook.lines import bundle_of
from llmflow_nb.notebook.stepper_state import place
from llmflow_nb.notebook.values import ValueTexts


class Load(Node):
    def exec(self, _):
        spend(input=1000, output=10, cost=1.0)


class Label(BatchNode):
    def prep(self, shared):
        return [1, 2]

    def exec(self, item):
        spend(input=10, output=2, cost=0.25)


@pytest.fixture
def flow(tmp_path):
    """A flow that has run with a journal."""
    load = Load()
    load >> Label()
    flow = Flow(load)
    flow.run({}, journal=tmp_path / "runs.db")
    return flow


def shown(value):
    return value._repr_mimebundle_()["text/plain"]


def test_a_run_has_the_sums_and_those_of_each_node(flow):
    """In the line of facts, and as columns of the table of nodes."""
    text = shown(flow.last_run)
    assert "1,020 tokens in, 14 out, $1.50" in text
    lines = text.splitlines()
    (n,) = [n for n, line in enumerate(lines) if "attempts" in line]
    head, _, load, label = lines[n : n + 4]
    start = head.index("tokens in")
    end = head.index("cost") + len("cost")
    assert [line[start:end].split() for line in (load, label)] == [["1,000", "10", "$1.00"], ["20", "4", "$0.50"]]


def test_a_batch_has_them_for_each_row(flow):
    """As columns, and in the line of facts."""
    text = shown(flow.last_run.batch("Label"))
    assert "20 tokens in, 4 out, $0.50" in text
    assert [line.split()[-5:-2] for line in text.splitlines()[-2:]] == [["10", "2", "$0.25"]] * 2


def test_the_graph_has_the_cost_of_each_node(flow):
    """Beside the time."""
    dot = flow.last_run.graph().dot()
    assert "$1.00" in dot
    assert "2/2 ok, $0.50" in dot


def test_the_progress_has_the_cost_so_far(flow):
    """In its first line."""
    assert "$1.50" in bundle_of(flow.last_run)["text/plain"]


def test_a_journal_has_the_cost_of_each_run(flow, tmp_path):
    """In its table; a run that was replayed has paid nothing."""
    flow.run({}, journal=tmp_path / "runs.db")
    journal = Journal(tmp_path / "runs.db")
    assert journal.runs["cost"].tolist()[1] == 1.5
    for text in (shown(journal), repr(journal)):
        first, second = (line for line in text.splitlines() if " ok" in line)
        assert ("$1.50" in second, "$" in first) == (True, False)


def test_without_a_report_nothing_is_shown():
    """A flow that reports nothing looks as it did."""
    flow = Flow(Node())
    flow.run({})
    assert "token" not in shown(flow.last_run)
    assert "$" not in bundle_of(flow.last_run)["text/plain"]


def test_the_stepper_has_the_cost_of_this_way():
    """Beside its counts of calls. Back at the start it is nothing."""
    load = Load()
    load >> Label()
    flow = Flow(load)
    stepper, model = flow.stepper({}), flow.graph()
    assert place(stepper, model, ValueTexts())["spent"] == ""
    stepper.run()
    assert place(stepper, model, ValueTexts())["spent"] == "$1.50"
