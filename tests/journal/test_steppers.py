"""``stepper(shared, journal=)``: what a stepper has called is answered after a restart too."""

import pytest

from llmflow_nb import BatchNode, Flow, Journal, JournalError, Node, SettingError
from tests.journal.helpers import Aside, start
from tests.journal.helpers import run as run_program


class Load(Node):
    def exec(self, prep_res):
        made.append("load")
        return ["a", "b"]

    def post(self, shared, prep_res, texts):
        shared["texts"] = texts


class Label(BatchNode):
    prefix = ""

    def prep(self, shared):
        return shared["texts"]

    def exec(self, text):
        made.append(text)
        if text in bad:
            raise ValueError(text)
        return Held(text) if text in held else f"{self.prefix}{text}"

    def post(self, shared, texts, labels):
        shared["labels"] = labels


class Held:
    """What no file can hold."""

    def __init__(self, text):
        self.text, self.lock = text, open

    def __reduce__(self):
        raise TypeError("no")


made, bad, held = Aside(), Aside(), Aside()


@pytest.fixture(autouse=True)
def nothing_made():
    for each in (made, bad, held):
        each.clear()


@pytest.fixture
def file(tmp_path):
    return tmp_path / "runs.db"


def flow_of_two():
    load, label = Load(), Label()
    load >> label
    return Flow(start=load, name="two")


def test_a_new_stepper_pays_for_nothing_again(file):
    """Its results come from the file, one command after the other."""
    first = flow_of_two().stepper({}, journal=file)
    first.over()
    assert made == ["load"]
    first.run()
    second = flow_of_two().stepper({}, journal=file)
    assert second.run().is_end
    assert made == ["load", "a", "b"]
    assert (second.called, second.replayed) == (0, 3)
    assert second.shared["labels"] == first.shared["labels"] == ["a", "b"]


def test_runs_and_steppers_share_the_file(file):
    """A run is answered by what a stepper called, and a stepper by what a run called."""
    flow_of_two().stepper({}, journal=file).run()
    flow_of_two().run({}, journal=file, progress=False)
    flow_of_two().stepper({}, journal=file).run()
    assert made == ["load", "a", "b"]
    assert list(Journal(file).runs["flow"]) == ["two (stepper)", "two", "two (stepper)"]


def test_back_and_forward(file):
    """The file has the branch on which the stepper is."""
    stepper = flow_of_two().stepper({}, journal=file)
    stepper.run()
    stepper.goto(0)
    stepper.run()
    assert made == ["load", "a", "b"]
    stored = Journal(file)[-1]
    assert len(Journal(file).runs) == 1
    assert [visit.path for visit in stored.visits] == ["two/Load", "two/Label", "two"]
    assert stored.batch("Label").results == ["a", "b"]
    stepper.goto(0)
    assert len(Journal(file)[-1].visits) == 0


def test_an_edit_calls_what_it_concerns(file):
    """And the file has the new branch."""
    stepper = flow_of_two().stepper({}, journal=file)
    stepper.run()
    stepper.goto(0)
    stepper.over()
    stepper.root.start_node.successors["default"].prefix = "new "
    stepper.run()
    assert made == ["load", "a", "b", "a", "b"]
    assert Journal(file)[-1].batch("Label").results == ["new a", "new b"]


def test_a_failure(file):
    """The row that succeeded before it is not paid again in another stepper."""
    bad.append("b")
    stepper = flow_of_two().stepper({}, journal=file)
    stepper.over()
    stepper.over()
    assert isinstance(stepper.error, ValueError)
    assert list(Journal(file).calls()["status"]) == ["ok", "failed", "ok"]
    bad.clear()
    stepper = flow_of_two().stepper({}, journal=file)
    assert stepper.run().is_end
    assert made == ["load", "a", "b", "b"]


def test_a_result_that_cannot_be_kept(file):
    """It stays in memory: going back does not pay for it again."""
    held.append("b")
    stepper = flow_of_two().stepper({}, journal=file)
    stepper.run()
    stepper.goto(0)
    stepper.run()
    assert made == ["load", "a", "b"]
    assert any("was not kept" in note for note in stepper.notes)


def test_the_file_is_free_between_two_commands(tmp_path):
    """Another process may use it then; while it does, a command is refused and nothing is called."""
    stepper = flow_of_two().stepper({}, journal=tmp_path / "runs.db")
    stepper.over()
    run_program("flow.run({'items': [1]}, journal='runs.db', progress=False)", tmp_path)
    process = start("PAUSE = 0.2\nflow.run(shared, journal='runs.db', progress=False)", tmp_path)
    while len((tmp_path / "ledger").read_text().splitlines()) < 2:
        assert process.poll() is None
    with pytest.raises(JournalError, match="is in use by process"):
        stepper.over()
    process.kill()
    process.communicate()
    assert made == ["load"]
    assert stepper.run().is_end
    assert made == ["load", "a", "b"]


def test_debug_uses_the_journal_of_the_run(file):
    """A row that has a result is not paid again to look at it."""
    flow = flow_of_two()
    flow.run({}, journal=file, progress=False)
    stepper = flow.last_run.batch("Label").debug(1)
    stepper.into()
    assert made == ["load", "a", "b"]
    assert stepper.replayed == 1


@pytest.mark.parametrize("journal", [3, "", [], object()])
def test_a_journal_that_is_none(journal):
    """It is refused at once, here as for runs."""
    with pytest.raises(SettingError, match="it must be a file name, a Journal, or True"):
        flow_of_two().stepper({}, journal=journal)
    with pytest.raises(SettingError, match="it must be a file name, a Journal, or True"):
        flow_of_two().run({}, journal=journal, progress=False)
