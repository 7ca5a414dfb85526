"""`stepper.as_test(path)`: a visit written as a test."""

import importlib
import sys

import pytest

from llmflow_nb import ExportError, Flow, Node, RunStateError

MODULE = """
from llmflow_nb import BatchNode, Node


class Judge(Node):
    def prep(self, shared):
        return shared["draft"]

    def exec(self, draft):
        return {"long": len(draft) > 3}

    def post(self, shared, prep_res, exec_res):
        shared["verdict"] = exec_res
        return "accept" if exec_res["long"] else "revise"


class Double(BatchNode):
    def prep(self, shared):
        return shared["parts"]

    def exec(self, shared, part):
        return part * 2

    def post(self, shared, prep_res, exec_res):
        shared["sum"] = sum(exec_res)
"""


@pytest.fixture
def nodes(tmp_path, monkeypatch):
    """A module of nodes that a test can import."""
    (tmp_path / "nodes_to_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("nodes_to_test")
    del sys.modules["nodes_to_test"]


def stepped(flow, shared, steps):
    stepper = flow.stepper(shared)
    for _ in range(steps):
        stepper.into()
    return stepper


def run(path):
    """Run the tests in a file; how many there were."""
    found = {}
    exec(compile(path.read_text(), str(path), "exec"), found)
    tests = [value for name, value in found.items() if name.startswith("test_")]
    for test in tests:
        test()
    return len(tests)


def test_a_visit_of_a_node(nodes, tmp_path):
    """The input of a visit, its result of exec and its outcome become a test, which passes and can fail."""
    judge = nodes.Judge(max_retries=2)
    judge - "accept" >> nodes.Double()
    shared = {"draft": "a 'quoted' \\ \"draft\"\n", "parts": [1, 2]}
    path = stepped(Flow(judge, name="F"), shared, 3).as_test(tmp_path / "test_judge.py")
    assert path == tmp_path / "test_judge.py"
    assert run(path) == 1
    path.write_text(path.read_text().replace("'accept'", "'revise'"))
    with pytest.raises(AssertionError):
        run(path)


def test_a_visit_of_a_batch_node(nodes, tmp_path):
    """Each item is a call of exec, in order."""
    path = stepped(Flow(nodes.Double()), {"parts": [1, 2]}, 5).as_test(tmp_path / "test_double.py")
    assert 'ITEMS = json.loads("[1, 2]")' in path.read_text()
    assert run(path) == 1


@pytest.mark.parametrize(
    ("name", "test"), [("judge a draft", "test_judge_a_draft_visit_1"), ("1st", "test_1st_visit_1")]
)
def test_the_test_is_named_after_the_node(nodes, tmp_path, name, test):
    """What a name may hold and an identifier may not becomes an underscore."""
    judge = nodes.Judge(name=name)
    path = stepped(Flow(judge), {"draft": "long enough"}, 3).as_test(tmp_path / "test_it.py")
    assert f"def {test}():" in path.read_text()


def test_before_the_visit_is_done(nodes, tmp_path):
    """A visit that has not ended is refused, and the message names the place."""
    stepper = stepped(Flow(nodes.Judge(), name="F"), {"draft": "x"}, 1)
    with pytest.raises(RunStateError, match="The stepper is at F/Judge, after prep"):
        stepper.as_test(tmp_path / "test_it.py")
    assert list(tmp_path.glob("test_it*")) == []


def test_values_that_are_no_json(nodes, tmp_path):
    """A value that JSON cannot hold is written as a literal. Any other is refused, and no file is written."""
    shared = {"draft": "long enough", "odd": ((1,), {1: {2}}, b"x")}
    assert run(stepped(Flow(nodes.Judge()), shared, 3).as_test(tmp_path / "test_odd.py")) == 1
    for value in (float("nan"), object(), nodes.Judge):
        stepper = stepped(Flow(nodes.Judge()), {"draft": "long enough", "odd": value}, 3)
        with pytest.raises(ExportError, match="Flow/Judge: what shared held is a dict, which cannot be written"):
            stepper.as_test(tmp_path / "test_it.py")
    assert list(tmp_path.glob("test_it*")) == []


def test_a_class_that_cannot_be_imported(tmp_path):
    """A class that was defined in a function or in a notebook is refused, and the message says what to do."""

    class Here(Node):
        def exec(self, _):
            return 1

        def post(self, shared, prep_res, exec_res):
            shared["done"] = exec_res

    with pytest.raises(ExportError, match="move the class to a module"):
        stepped(Flow(Here()), {}, 2).as_test(tmp_path / "test_it.py")
