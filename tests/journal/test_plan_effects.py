"""``flow.plan`` changes nothing: neither ``shared`` nor nodes, the file, or what the next run does."""

import contextvars
import threading

import pytest

from llmflow_nb import BatchNode, Flow, Journal, Node, SettingError
from tests.stepper.helpers import Cells


class Label(BatchNode):
    def prep(self, shared):
        return shared["texts"]

    def exec(self, text):
        return f"label of {text}"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "runs.db"


def run(flow, shared, file):
    flow.run(shared, journal=file, progress=False)


class Thing:
    def __init__(self):
        self.values = [1]
        self.lock = threading.Lock()


class Changes(Node):
    """Changes all that it can reach."""

    def __init__(self):
        super().__init__()
        self.seen = [1]

    def prep(self, shared):
        shared["nested"]["list"].append(2)
        shared["thing"].values.append(2)
        shared["new"] = 1
        self.seen.append(2)
        self.other = 1
        variable.set("changed")
        return 1

    def exec(self, x):
        raise AssertionError("a plan calls no exec")


variable = contextvars.ContextVar("variable", default="")


def test_shared_and_nodes_are_not_changed(file):
    """Hooks change copies, also of nested values and of objects with a lock; and ``last_run`` stays."""
    flow = Flow(start=Changes())
    thing = Thing()
    shared = {"nested": {"list": [1]}, "thing": thing}
    before = dict(vars(flow.start_node))
    flow.plan(shared, journal=file)
    assert shared == {"nested": {"list": [1]}, "thing": thing}
    assert thing.values == [1]
    assert vars(flow.start_node) == before == {**before, "seen": [1]}
    assert flow.last_run is None
    assert variable.get() == ""


@pytest.mark.parametrize("journal", [True, "runs.db"])
def test_no_file_and_no_folder_is_created(journal, tmp_path, monkeypatch):
    """A plan without an earlier run leaves the folder as it is."""
    monkeypatch.chdir(tmp_path)
    flow = Flow(start=Label())
    assert flow.plan({"texts": ["a"]}, journal=journal).to_call == 1
    assert list(tmp_path.iterdir()) == []


class Box:
    """A ``shared`` that is an object with a lock."""

    def __init__(self):
        self.values = [1]
        self.lock = threading.Lock()


def test_a_shared_that_is_an_object(file):
    """Its attributes are copied, one by one."""

    class Adds(Node):
        def prep(self, shared):
            shared.values.append(2)
            shared.more = 1

    box = Box()
    Flow(start=Adds()).plan(box, journal=file)
    assert (box.values, hasattr(box, "more")) == ([1], False)


def test_a_shared_that_cannot_be_copied(file):
    """It is refused before any hook runs."""
    with pytest.raises(SettingError, match="shared is a lock, which cannot be copied"):
        Flow(start=Label()).plan(threading.Lock(), journal=file)


def test_the_file_is_not_written(file):
    """Not a byte, and no run."""
    flow = Flow(start=Label())
    run(flow, {"texts": ["a"]}, file)
    before = file.read_bytes(), len(Journal(file).runs)
    flow.plan({"texts": ["a", "b"]}, journal=file)
    assert (file.read_bytes(), len(Journal(file).runs)) == before


def test_while_a_run_writes(file):
    """A plan reads beside a run that has the file locked."""
    flow = Flow(start=Label())
    run(flow, {"texts": ["a"]}, file)
    plans = []

    class Plans(Node):
        def exec(self, _):
            plans.append(flow.plan({"texts": ["a", "b"]}, journal=file))

    Flow(start=Plans()).run({}, journal=file, progress=False)
    assert [(plan.answered, plan.to_call) for plan in plans] == [(1, 1)]


def test_a_log_of_prep_is_no_edit(file):
    """What a hook writes to a global in a plan does not make the run call again."""
    text = """
from llmflow_nb import Node
log = []
def noted(text):
    log.append(text)
    return text
class Ask(Node):
    def prep(self, shared):
        return noted("a")
    def exec(self, text):
        return len(log)
"""
    with Cells("a_cell_with_a_log") as cells:
        flow = Flow(start=cells.run(text).Ask(), name="flow")
        run(flow, {}, file)
        assert flow.plan({}, journal=file).to_call == 0
        flow.run({}, journal=file, progress=False)
        assert flow.last_run.steps["replayed"].tolist()[0] is True
