"""``journal[-1]``: a run of a file, as the same record that was there when it ran."""

import itertools
import sqlite3

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from llmflow_nb import (
    AllFailedError,
    BatchFlow,
    BatchNode,
    Flow,
    Journal,
    JournalError,
    Node,
    RowError,
    Run,
    RunStateError,
)
from llmflow_nb.notebook.display import mimebundle
from llmflow_nb.notebook.table_state import opened
from llmflow_nb.notebook.values import ValueTexts
from tests.journal.helpers import run as run_program
from tests.journal.helpers import start

TIMES = ["seconds"]  # of an item: the journal leaves out the time that it takes itself


class Load(Node):
    def exec(self, prep_res):
        return ["a", "b", "bad", "d"]

    def post(self, shared, prep_res, texts):
        shared["texts"] = texts


class Label(BatchNode):
    def prep(self, shared):
        return shared["texts"]

    def exec(self, text):
        if text == "bad":
            raise ValueError("it is bad")
        return {"label": text.upper()}

    def post(self, shared, texts, labels):
        shared["labels"] = labels
        return "done"


class Indexed(Label):
    def prep(self, shared):
        return pd.Series(shared["texts"], index=pd.Index(["i", "ii", "iii", "iv"], name="number"))


class Sized(Node):
    def prep(self, shared):
        return self.params["size"]

    def exec(self, size):
        if size == 3:
            raise RuntimeError("too large")
        return size * 10


class Sizes(BatchFlow):
    def prep(self, shared):
        return [{"size": n} for n in range(5)]


class Again(Node):
    def prep(self, shared):
        shared["turns"] = shared.get("turns", 0) + 1
        return shared["turns"]

    def exec(self, turn):
        return turn

    def post(self, shared, turn, exec_res):
        return "again" if turn < 3 else "done"


class Fallback(BatchNode):
    def prep(self, shared):
        return [1, 2]

    def exec(self, n):
        raise ValueError(n)

    def exec_fallback(self, n, exc):
        return -n


class Volatile(Label):
    volatile = True


class Refused(BatchNode):
    def prep(self, shared):
        return [1, 2]

    def exec(self, n):
        return Handle() if n == 2 else n


class Handle:
    def __reduce__(self):
        raise TypeError("no")


def chain(*nodes, name="F"):
    for node, following in itertools.pairwise(nodes):
        node.next(following, "done" if isinstance(node, Label) else "default")
    return Flow(start=nodes[0], name=name)


def looping():
    again, end = Again(), Load()
    again - "again" >> again
    again - "done" >> end
    return Flow(start=again, name="loop")


def two_batches():
    """The same node twice in one walk, and an inner flow."""
    first, inner = Label(on_error="keep"), chain(Load(), Label(on_error="keep"), name="inner")
    return chain(Load(), first, inner, name="outer")


FLOWS = {
    "batch": lambda: chain(Load(), Label(on_error="keep")),
    "index": lambda: chain(Load(), Indexed(on_error="keep")),
    "batch flow": lambda: chain(Load(), Sizes(start=Sized(), on_error="keep")),
    "side by side": lambda: chain(Sizes(start=Sized(), on_error="keep", max_concurrency=3)),
    "loop": looping,
    "nested": two_batches,
    "fallback": lambda: chain(Fallback(max_retries=2)),
    "volatile": lambda: chain(Load(), Volatile(on_error="keep")),
    "only a node": lambda: Load(),
    "fails": lambda: chain(Load(), Label(), Again()),
}


def tables(run):
    """Return the tables of a run, without what the journal does not keep: the items that were not called."""
    found = {}
    for result in run.batches:
        df = result.df.drop(columns=TIMES)
        if "item" in df:
            df["item"] = df["item"].astype(object).where(df["status"] != "pending", None)
        found[result.path] = df
    return found


def drawn(run):
    """Return the graph as lines, without the seconds of the flow and the ends, whose actions only code tells."""
    return [line for line in run.graph().outline().splitlines()[1:] if "the end" not in line]


def assert_same(stored, run):
    """The stored run shows what the record shows."""
    assert isinstance(stored, Run)
    assert (stored.status, stored.name, stored.action) == (run.status, run.name, run.action)
    assert_frame_equal(stored.steps, run.steps)
    assert tables(stored).keys() == tables(run).keys()
    for path, table in tables(run).items():
        assert_frame_equal(tables(stored)[path], table)
    assert_frame_equal(stored.errors, run.errors)
    assert stored.problems == run.problems
    assert stored.notes == run.notes
    assert stored.calls == run.calls
    assert drawn(stored) == drawn(run)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "runs.db"


@pytest.mark.parametrize("name", FLOWS)
def test_a_stored_run_is_the_record(file, name):
    """Steps, tables, errors, problems, notes and the coloured graph are those of ``last_run``."""
    flow = FLOWS[name]()
    try:
        flow.run({}, journal=file, progress=False)
    except ValueError:
        assert name == "fails"
    assert_same(Journal(file)[-1], flow.last_run)
    assert type(Journal(file)[-1].error).__name__ == type(flow.last_run.error).__name__


@pytest.mark.parametrize("name", FLOWS)
def test_a_run_that_the_file_answers_has_the_same_tables(file, name):
    """What was replayed is in the tables as what was called."""
    for _ in range(2):
        flow = FLOWS[name]()
        try:
            flow.run({}, journal=file, progress=False)
        except ValueError:
            assert name == "fails"
    assert bool(Journal(file).runs["replayed"][0]) is (name != "fallback")
    stored = tables(Journal(file)[2])
    for path, table in tables(flow.last_run).items():
        columns = table.columns.difference(["error", "error_type"])  # of an attempt before the one that succeeded
        assert_frame_equal(stored[path][columns], table[columns])


def test_it_is_shown_like_a_run(file):
    """As the last line of a cell it shows the same summary and the same drawing."""
    flow = two_batches()
    flow.run({}, journal=file, progress=False)
    shown, of_run = mimebundle(Journal(file)[-1]), mimebundle(flow.last_run)
    assert shown.keys() == of_run.keys()
    assert "Label       1         4  3 ok, 1 failed" in shown["text/plain"]
    assert "ValueError" in shown["text/html"]


def test_what_was_run_again_is_in_the_same_run(file):
    """A resumed run, and retried rows, are one run of the file."""
    flow = chain(Load(), Label(), Again())
    with pytest.raises(ValueError, match="it is bad"):
        flow.run({}, journal=file, progress=False)
    flow.last_run.shared["texts"][2] = "c"
    flow.start_node.successors["default"].on_error = "keep"
    flow.last_run.resume(progress=False)
    assert len(Journal(file).runs) == 1
    assert_same(Journal(file)[-1], flow.last_run)


def test_a_retried_row_has_its_new_result(file):
    """With its attempts added up."""
    flow = chain(Load(), Label(on_error="keep"))
    flow.run({}, journal=file, progress=False)
    flow.last_run.shared["texts"][2] = "c"
    flow.last_run.batch("Label").retry_failed(progress=False)
    assert_same(Journal(file)[-1], flow.last_run)


class Sensitive(BatchNode):
    """Fails for the second of its items as long as ``shared`` says so."""

    def prep(self, shared):
        return [f"{self.params['of']}{n}" for n in range(2)]

    def exec(self, shared, item):
        if shared["fails"] and item.endswith("1"):
            raise ValueError(f"{item} fails")
        return item


class Inner(BatchFlow):
    """Two param sets in each param set of another flow."""

    def prep(self, shared):
        return [{"of": f"{self.params['each']}{n}"} for n in range(2)]


class Outer(BatchFlow):
    """Two param sets."""

    def prep(self, shared):
        return [{"each": each} for each in "ab"]


@pytest.mark.parametrize("from_start", [True, False])
def test_retried_param_sets_are_as_in_the_record(file, from_start):
    """They have their new outcomes, and the visits of a walk that was repeated are gone."""
    flow = Outer(start=Inner(start=Sensitive(), on_error="keep"), on_error="keep")
    with pytest.raises(AllFailedError):
        flow.run({"fails": True}, journal=file, progress=False)
    flow.last_run.shared["fails"] = False
    flow.last_run.batch("Outer").retry_failed(from_start=from_start, progress=False)
    assert Journal(file)[-1].batch("Outer").counts == flow.last_run.batch("Outer").counts
    assert_same(Journal(file)[-1], flow.last_run)


def test_resumed_param_sets_are_as_in_the_record(file):
    """They have their new outcomes."""
    flow = Outer(start=Inner(start=Sensitive()))
    with pytest.raises(ValueError, match="a01 fails"):
        flow.run({"fails": True}, journal=file, progress=False)
    flow.last_run.shared["fails"] = False
    flow.last_run.resume(progress=False)
    assert flow.last_run.batch("Outer").counts == {"ok": 2}
    assert_same(Journal(file)[-1], flow.last_run)


def test_an_interrupted_visit(file):
    """Its rows are ok, cancelled and pending, as in the record."""

    class Interrupted(BatchNode):
        def prep(self, shared):
            return [0, 1, 2]

        def exec(self, n):
            if n == 1:
                raise KeyboardInterrupt
            return n

    flow = chain(Interrupted())
    with pytest.raises(KeyboardInterrupt):
        flow.run({}, journal=file, progress=False)
    assert Journal(file)[-1].batch("Interrupted").counts == {"ok": 1, "cancelled": 1, "pending": 1}
    assert_same(Journal(file)[-1], flow.last_run)


def test_a_result_that_was_not_kept_is_missing(file):
    """Its row is there, and the problem says which node."""
    flow = chain(Refused())
    flow.run({}, journal=file, progress=False)
    stored = Journal(file)[-1]
    assert stored.batch("Refused").results == [1, None]
    assert "F/Refused: the result of item 2 was not kept" in stored.problems[0]


def test_the_run_of_a_killed_process(tmp_path):
    """It has what had ended until the kill, and no seconds."""
    process = start("PAUSE = 0.1\nflow.run(shared, journal='runs.db', progress=False)", tmp_path)
    while not (tmp_path / "ledger").exists() or len((tmp_path / "ledger").read_text().splitlines()) < 100:
        assert process.poll() is None
    running = Journal(tmp_path / "runs.db")[-1]
    assert running.status == "running"
    process.kill()
    process.communicate()
    stored = Journal(tmp_path / "runs.db")[-1]
    assert (stored.status, stored.seconds) == ("killed", None)
    assert "killed" in repr(stored)
    assert "killed" in mimebundle(stored)["text/plain"]
    assert "Label" in mimebundle(stored)["text/plain"]
    result = stored.batch("Label")
    assert len(result) == 400
    assert 80 <= result.counts["ok"] < 400
    assert result.counts["pending"] == 400 - result.counts["ok"] - result.counts.get("cancelled", 0)
    assert result.counts.get("cancelled", 0) <= 8
    assert next(iter(result.ok["result"])) == {"label": "label 0", "n": (0,)}
    assert "Label" in stored.graph().outline()


def test_another_process_reads_it(tmp_path):
    """It needs neither the flow nor its classes."""
    run_program("flow.run(shared, journal='runs.db', progress=False)", tmp_path)
    stored = Journal(tmp_path / "runs.db")[-1]
    assert stored.batch("Label").counts == {"ok": 400}
    assert [visit.path for visit in stored.visits] == ["labels/Label", "labels"]


def test_runs_are_numbered_from_1_and_from_the_end(file):
    """As in the table of runs; iterating yields the earliest first."""
    for name in ("first", "second", "third"):
        chain(Load(), name=name).run({}, journal=file, progress=False)
    journal = Journal(file)
    assert [journal[n].name for n in (1, 3, -1, -3)] == ["first", "third", "third", "first"]
    assert [run.name for run in journal] == ["first", "second", "third"]
    for wrong in (0, 4, -4, "first", None, 1.5, True):
        with pytest.raises(RowError, match="has no run"):
            journal[wrong]
    with pytest.raises(JournalError, match="there is no journal"):
        Journal(file.with_name("other.db"))[-1]


def test_it_cannot_be_run_on(file):
    """A journal has no code, and the error says what to do."""
    flow = chain(Load(), Label())
    with pytest.raises(ValueError, match="it is bad"):
        flow.run({}, journal=file, progress=False)
    stored = Journal(file)[-1]
    for run_on in (
        stored.resume,
        stored.retry_failed,
        stored.batch("Label").retry,
        stored.batch("Label").resume,
        lambda: stored.batch("Label").debug(0),
        lambda: stored.node.run({}, progress=False),
    ):
        with pytest.raises(RunStateError, match="read from"):
            run_on()


@pytest.mark.parametrize("wiring", ["[]", "{", "3", '[{"kind": "x", "class": "A"}]', '[{"kind": "flow"}]'])
def test_a_wiring_that_somebody_has_changed(file, wiring):
    """It is refused as damage."""
    chain(Load()).run({}, journal=file, progress=False)
    with sqlite3.connect(file) as db:
        db.execute("UPDATE run SET wiring = ?", (wiring,))
    db.close()
    with pytest.raises(JournalError, match="is damaged"):
        Journal(file)[-1]


def test_names_that_no_column_can_hold(file):
    """A lone surrogate in a name, an action or an error does not keep a run from being written."""

    class Odd(BatchNode):
        def prep(self, shared):
            return [1]

        def exec(self, n):
            raise ValueError("\ud800")

        def post(self, shared, prep_res, exec_res):
            return "\udfff"

    flow = Flow(start=Odd(name="\ud800 / x", on_error="keep"), name="\ud801")
    with pytest.raises(Exception, match="all 1 items failed"):
        flow.run({}, journal=file, progress=False)
    assert Journal(file)[-1].status == "failed"
    assert Journal(file)[-1].graph().svg()


def test_errors_of_one_class_are_counted_together(file):
    """Also if their texts differ, as in the record."""

    class Both(Label):
        def exec(self, text):
            raise ValueError(text)

    flow = chain(Load(), Both(on_error="keep"))
    with pytest.raises(Exception, match="all 4 items failed"):
        flow.run({}, journal=file, progress=False)
    assert "4 x ValueError" in mimebundle(Journal(file)[-1])["text/plain"]


def test_a_row_that_is_opened_offers_no_stepper(file):
    """There is no code to step through."""
    flow = chain(Load(), Label(on_error="keep"))
    flow.run({}, journal=file, progress=False)
    for run, has_code in ((flow.last_run, True), (Journal(file)[-1], False)):
        assert opened(run.batch("Label"), 2, ValueTexts())["hasCode"] is has_code
