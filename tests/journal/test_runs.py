"""``journal=``: which calls the file answers, and what is kept."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pandas as pd
import pytest

from llmflow_nb import BatchFlow, BatchNode, Flow, Journal, JournalError, Node, SettingError
from tests.journal.helpers import Aside
from tests.stepper.helpers import Cells


class Label(BatchNode):
    """Labels texts, keeps the calls in a list, and raises for what is in ``bad``."""

    def prep(self, shared):
        return shared["texts"]

    def exec(self, text):
        made.append(text)
        if text in bad:
            raise ValueError(text)
        return f"label {len(made)} of {text}"

    def post(self, shared, texts, labels):
        shared["labels"] = labels


made, bad = Aside(), Aside()


@pytest.fixture(autouse=True)
def nothing_made():
    made.clear()
    bad.clear()


@pytest.fixture
def file(tmp_path):
    return tmp_path / "runs.db"


def label(file, texts, **settings):
    """Run a flow with a journal, and return its labels."""
    shared = {"texts": texts}
    flow = Flow(start=Label(**settings), name="labels")
    flow.run(shared, journal=file, progress=False)
    return flow, shared["labels"]


def test_a_call_is_made_once(file):
    """A later run gets the same results from the file."""
    _, first = label(file, ["a", "b"])
    flow, second = label(file, ["a", "b", "c"])
    assert made == ["a", "b", "c"]
    assert second == [*first, "label 3 of c"]
    assert flow.last_run.notes == [("labels", "2 of 3 calls answered by runs.db; Label: 1 called, new input or params")]
    assert flow.last_run.problems == []


def test_the_same_input_twice_is_two_calls(file):
    """The first of them is answered by the first result, the second by the second."""
    _, first = label(file, ["a", "a"])
    assert first == ["label 1 of a", "label 2 of a"]
    assert label(file, ["a", "a", "a"])[1] == [*first, "label 3 of a"]


def test_only_results_answer(file):
    """A failed call is made again, and so is one whose fallback answered."""

    class Fallback(Label):
        def exec_fallback(self, text, error):
            return "fallback"

    bad.append("b")
    for _ in range(2):
        shared = {"texts": ["a", "b"]}
        Flow(start=Fallback()).run(shared, journal=file, progress=False)
        assert shared["labels"] == ["label 1 of a", "fallback"]
    assert made == ["a", "b", "b"]
    assert list(Journal(file).runs["failed"]) == [1, 1]


def test_other_settings_find_the_results(file):
    """Retries, concurrency and the like change no result."""
    label(file, ["a", "b"])
    label(file, ["a", "b"], max_retries=3, max_concurrency=4, on_error="keep")
    assert made == ["a", "b"]


def test_attempts_and_seconds_of_a_result(file):
    """They are those of the call that was made."""

    class Twice(Label):
        def exec(self, text):
            if self.cur_retry == 0:
                raise ValueError
            threading.Event().wait(0.05)
            return text

    tables = []
    for _ in range(2):
        flow = Flow(start=Twice(max_retries=2))
        flow.run({"texts": ["a"]}, journal=file, progress=False)
        tables.append(flow.last_run.batch("Twice").df)
    assert list(tables[1]["attempts"]) == [2]
    assert tables[1]["seconds"][0] == pytest.approx(tables[0]["seconds"][0], abs=0.04)


CELL = """
from llmflow_nb import *
made = []
class Ask(Node):
    def prep(self, shared): return shared["x"]
    def exec(self, x):
        "Ask."
        made.append(x)
        return f"PROMPT {x}"
    def post(self, shared, x, answer): shared["answer"] = answer
"""


def test_edited_code_is_called(tmp_path):
    """A docstring and a line more change nothing; another prompt does, and the old result stays."""
    found = []
    for text in ("a", "a", "b", "a"):
        with Cells("a_cell_with_a_journal") as cells:
            module = cells.run(CELL.replace("PROMPT", text).replace('"Ask."', '"Other words."' if found else '"Ask."'))
            shared = {"x": 1}
            Flow(start=module.Ask()).run(shared, journal=tmp_path / "runs.db", progress=False)
            found.append((shared["answer"], len(module.made)))
    assert found == [("a 1", 1), ("a 1", 0), ("b 1", 1), ("a 1", 0)]


LOGS = """
from llmflow_nb import *
log, count = [], 0
class Ask(Node):
    def exec(self, x):
        global count
        log.append(x)
        count += 1
"""


def test_a_log_that_exec_appends_to_is_no_edit(file):
    """Nor is a counter, in the same session and in another one."""
    for runs in (1, 2):
        with Cells("a_cell_with_a_log") as cells:
            module = cells.run(LOGS)
            for _ in range(2):
                Flow(start=module.Ask()).run({}, journal=file, progress=False)
            assert module.count == (1 if runs == 1 else 0)


def test_params_and_attributes_count(file):
    """Other params, or another attribute of the node, are another call."""

    class Ask(Node):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def exec(self, _):
            made.append((self.model, self.params["file"]))
            return self.model

    class Files(BatchFlow):
        def prep(self, shared):
            return [{"file": "a"}, {"file": "b"}]

    for model in ("small", "large", "small"):
        Files(start=Ask(model), max_concurrency=2).run({}, journal=file, progress=False)
    assert sorted(made) == [("large", "a"), ("large", "b"), ("small", "a"), ("small", "b")]


def test_shared_counts_for_an_exec_that_takes_it(file):
    """The seed's signature. An exec that writes to it is called each time, and a text says why."""

    class Reads(Node):
        def exec(self, shared, _):
            made.append(shared["x"])
            return shared["x"]

    class Writes(Node):
        def exec(self, shared, _):
            shared["n"] = shared.get("n", 0) + 1

    for x in (1, 1, 2):
        Flow(start=Reads()).run({"x": x, "client": threading.Lock()}, journal=file, progress=False)
    assert made == [1, 2]
    flow = Flow(start=Writes(), name="w")
    for _ in range(2):
        shared = {}
        flow.run(shared, journal=file, progress=False)
        assert shared == {"n": 1}
    assert flow.last_run.problems == ["w/Writes: exec writes to shared, so it is called again"]


def test_volatile_nodes_are_called(file):
    """They have nothing to do with a journal."""
    for _ in range(2):
        label(file, ["a"], volatile=True)
    assert made == ["a", "a"]


def test_a_result_that_cannot_be_kept(file):
    """The run has it, and says which item, what it is, and what to do. It is called again."""

    class Locks(Label):
        def exec(self, text):
            made.append(text)
            return threading.Lock() if text == "b" else text

    for _ in range(2):
        shared = {"texts": ["a", "b"]}
        flow = Flow(start=Locks(), name="locks")
        flow.run(shared, journal=file, progress=False)
        assert isinstance(shared["labels"][1], type(threading.Lock()))
    assert made == ["a", "b", "b"]
    [problem] = flow.last_run.problems
    assert problem.startswith("locks/Locks: the result of item 2 was not kept: an object of the class _thread.lock")
    assert "return its data" in problem


READS = {
    "open('a')": "a file",
    "Path('a').read_text()": "a file",
    "os.environ['HOME']": "the environment",
    "os.getenv('HOME')": "the environment",
    "time.time()": "the clock",
    "datetime.now()": "the clock",
    "random.random()": "random numbers",
    "choice([x for x in '1'])": "random numbers",
    "uuid4()": "random numbers",
    "len(os.getcwd())": "",
    "time.sleep(0)": "",
    "datetime(2026, 1, 1).year": "",
}


@pytest.mark.parametrize("code", READS)
def test_what_no_key_contains(code, file):
    """A text names it, and the way out; with ``volatile`` there is none."""
    text = """
import os, random, time
from datetime import datetime
from pathlib import Path
from random import choice
from uuid import uuid4
from llmflow_nb import *
class Ask(Node):
    def exec(self, _):
        try:
            CODE
        except OSError:
            pass
"""
    with Cells("a_cell_that_reads") as cells:
        module = cells.run(text.replace("CODE", code))
        problems = []
        for volatile in (False, True):
            flow = Flow(start=module.Ask(volatile=volatile))
            flow.run({}, journal=file, progress=False)
            problems.append(flow.last_run.problems)
    way_out = "but a result is reused even if that has changed; volatile=True calls the node each time"
    assert problems == [[f"Ask: exec reads {READS[code]}, {way_out}"] if READS[code] else [], []]


@dataclass
class Answer:
    text: str


@pytest.mark.parametrize("fresh", ["Label", "outer/inner/Label", "inner", "outer"])
def test_fresh_calls_a_node_again(fresh, file):
    """By its name or path, or with the flow around it. Later runs get the new results."""

    class Other(Node):
        def exec(self, _):
            made.append("other")

    first = Label()
    flow = Flow(start=first, name="inner")
    flow >> Other()
    flow = Flow(start=flow, name="outer")
    labels = []
    for options in ({}, {"fresh": fresh}, {}):
        shared = {"texts": ["a", "a"]}
        flow.run(shared, journal=file, progress=False, **options)
        labels.append(shared["labels"])
    assert labels[0] != labels[1] == labels[2]
    assert made == ["a", "a", "other", "a", "a", *(["other"] if fresh == "outer" else [])]


def test_fresh_is_a_node_of_the_flow(file):
    """A slip is reported before anything is called."""
    with pytest.raises(SettingError, match=r"no such node.*did you mean 'Label'"):
        Flow(start=Label()).run({"texts": ["a"]}, journal=file, fresh="Labels", progress=False)
    with pytest.raises(SettingError, match="needs journal="):
        Flow(start=Label()).run({"texts": ["a"]}, fresh="Label", progress=False)
    assert made == []


def test_objects_come_back(file):
    """Those of a class of the node's module, or of one that is given."""

    class Asks(Label):
        def exec(self, text):
            made.append(text)
            return Answer(text) if text == "a" else Local(text)

    @dataclass
    class Local:
        text: str

    journal = Journal(file, types=[Local])
    for _ in range(2):
        shared = {"texts": ["a", "b"]}
        Flow(start=Asks()).run(shared, journal=journal, progress=False)
        assert shared["labels"] == [Answer("a"), Local("b")]
    assert made == ["a", "b"]
    with pytest.raises(JournalError, match=r"Asks, item 2: its result .*Local is missing; run the cell that defines"):
        Flow(start=Asks()).run({"texts": ["a", "b"]}, journal=file, progress=False)
    assert made == ["a", "b"]


def test_what_exec_sets_on_the_node(file):
    """It is kept with the result."""

    class Sets(Node):
        def exec(self, _):
            made.append(1)
            self.seen = ("a", 1)
            return 1

        def post(self, shared, _, __):
            shared["seen"] = self.seen

    for _ in range(2):
        shared = {}
        Flow(start=Sets()).run(shared, journal=file, progress=False)
        assert shared == {"seen": ("a", 1)}
    assert made == [1]


def test_attributes_that_calls_set_side_by_side(file):
    """In any order. They change no key of the calls after them."""

    class Counts(Label):
        def exec(self, text):
            made.append(text)
            self.total = getattr(self, "total", 0) + len(text) * 3**10
            self.last = threading.get_ident(), len(made)
            return text

    texts = [f"text {n}" for n in range(40)]
    for _ in range(2):
        Flow(start=Counts(max_concurrency=8)).run({"texts": texts}, journal=file, progress=False)
    assert sorted(made) == sorted(texts)


def test_attributes_that_calls_set_in_turn(file):
    """They count for the calls after them, whose results may depend on them."""

    class Remembers(Label):
        def exec(self, text):
            made.append(text)
            self.last = getattr(self, "last", "") + text
            return self.last

    found = []
    for texts in (["a", "b"], ["a", "b"], ["c", "b"]):
        shared = {"texts": texts}
        Flow(start=Remembers()).run(shared, journal=file, progress=False)
        found.append(shared["labels"])
    assert found == [["a", "ab"], ["a", "ab"], ["c", "cb"]]
    assert made == ["a", "b", "c", "b"]


def test_a_frame_in_shared_that_is_changed_in_place(file):
    """Also one whose cells are lists, which pandas cannot compare."""

    class Reads(Node):
        def exec(self, shared, _):
            made.append(1)
            return len(shared["frame"]["a"][0])

    frame = pd.DataFrame({"a": [[1], [2]]})
    for _ in range(2):
        Flow(start=Reads()).run({"frame": frame}, journal=file, progress=False)
        frame["a"][0].append(2)
    assert len(made) == 2


# ---- every way to run ------------------------------------------------------------------------------------------------


class AsyncLabel(Label):
    """Labels texts in coroutines."""

    async def exec(self, text):
        made.append(text)
        await asyncio.sleep(0)
        return text


WAYS = {
    "run": lambda flow, shared, file: flow.run(shared, journal=file, progress=False),
    "run_async": lambda flow, shared, file: asyncio.run(flow.run_async(shared, journal=file, progress=False)),
    "submit": lambda flow, shared, file: flow.submit(shared, journal=file, progress=False).wait(),
    "executor": lambda flow, shared, file: in_threads(flow, shared, file),
}


def in_threads(flow, shared, file):
    """Run with an executor of the user's."""
    with ThreadPoolExecutor(4) as executor:
        flow.run(shared, journal=file, executor=executor, progress=False)


@pytest.mark.parametrize("limit", [1, 4])
@pytest.mark.parametrize("cls", [Label, AsyncLabel])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_run(way, cls, limit, file):
    """The calls are the same, whoever makes them."""
    for _ in range(2):
        shared = {"texts": ["a", "b", "c"]}
        WAYS[way](Flow(start=cls(max_concurrency=limit)), shared, file)
        assert len(shared["labels"]) == 3
    assert sorted(made) == ["a", "b", "c"]


def test_a_run_within_a_call(file):
    """It shares the open file, if it is given the journal too."""

    class Outer(Node):
        def exec(self, _):
            shared = {"texts": ["a"]}
            Flow(start=Label(), name="inner").run(shared, journal=file, progress=False)
            return shared["labels"]

    for _ in range(2):
        Flow(start=Outer(volatile=True)).run({}, journal=file, progress=False)
    assert made == ["a"]
    assert list(Journal(file).runs["status"]) == ["ok"] * 4


def test_resume_uses_the_journal(file):
    """What it calls is kept too."""
    bad.append("b")
    flow = Flow(start=Label(), name="labels")
    with pytest.raises(ValueError, match="b"):
        flow.run({"texts": ["a", "b", "c"]}, journal=file, progress=False)
    bad.clear()
    flow.last_run.resume(progress=False)
    assert made == ["a", "b", "b", "c"]
    label(file, ["a", "b", "c"])
    assert made == ["a", "b", "b", "c"]
    assert list(Journal(file).runs["status"]) == ["ok", "ok"]


def test_retries_use_the_journal(file):
    """Results of failed rows are kept, each in its place."""
    bad.extend("ab")
    flow, _ = label(file, ["c", "a", "a", "b"], on_error="keep")
    bad.remove("a")
    flow.last_run.retry_failed(progress=False)
    assert made == ["c", "a", "a", "b", "a", "a", "b"]
    bad.clear()
    _, labels = label(file, ["c", "a", "a", "b"])
    assert made == ["c", "a", "a", "b", "a", "a", "b", "b"]
    assert labels == ["label 1 of c", "label 5 of a", "label 6 of a", "label 8 of b"]


def test_retry_of_a_row_with_a_result_calls_it(file):
    """The new result replaces the old one."""
    flow, _ = label(file, ["a", "b"])
    flow.last_run.batch("Label").retry([0], progress=False)
    assert label(file, ["a", "b"])[1] == ["label 3 of a", "label 2 of b"]


def test_an_interrupt_keeps_what_is_done(file):
    """And the run can go on in the same process, or in another."""

    class Stops(Label):
        def exec(self, text):
            if text == "c" and "stop" not in bad:
                raise KeyboardInterrupt
            return super().exec(text)

    flow = Flow(start=Stops())
    with pytest.raises(KeyboardInterrupt):
        flow.run({"texts": ["a", "b", "c"]}, journal=file, progress=False)
    bad.append("stop")
    flow.run({"texts": ["a", "b", "c"]}, journal=file, progress=False)
    assert made == ["a", "b", "c"]
    assert list(Journal(file).runs["status"]) == ["ok", "interrupted"]


# ---- the journal itself ----------------------------------------------------------------------------------------------


def test_the_table_of_runs(file):
    """One row for each run, the newest first, with dtypes that say missing."""
    label(file, ["a"])
    label(file, ["a", "b"])
    runs = Journal(file).runs
    assert list(runs.columns) == [
        "run", "flow", "started", "seconds", "status", "called", "replayed", "failed", "unanswered",
    ]  # fmt: skip
    assert [tuple(row) for row in runs[["run", "flow", "status", "called", "replayed"]].itertuples(index=False)] == [
        (2, "labels", "ok", 1, 1),
        (1, "labels", "ok", 1, 0),
    ]
    assert isinstance(runs["started"].dtype, type(pd.Series(dtype="datetime64[us]").dtype))
    text = repr(Journal(file))
    assert "2 runs" in text
    assert "labels: ok, 1 called, 1 replayed" in text


def test_the_table_of_calls(file):
    """What was asked and answered, in the order of the items, whichever run has made the call."""
    bad.append("c")
    label(file, ["b", "long" * 2000])
    label(file, ["a", "b", "long" * 2000, "c"], on_error="keep")
    calls = Journal(file).calls()
    assert list(calls["item"]) == ["a", "b", "long" * 2000, "c"]
    assert list(calls["result"].str[:7]) == ["label 3", "label 1", "label 2", None]
    assert list(calls["status"]) == ["ok", "ok", "ok", "failed"]
    assert list(calls["replayed"]) == [False, True, True, False]
    assert list(calls["error"].dropna()) == ["c"]
    assert list(Journal(file).calls(1)["position"]) == [0, 1]
    with pytest.raises(KeyError, match="has no run 99"):
        Journal(file).calls(99)


def test_the_table_of_calls_without_the_classes(file):
    """An object of an unknown class is shown as its JSON."""

    class Asks(BatchFlow):
        def prep(self, shared):
            return [{"n": 1}]

    class Answers(Node):
        def exec(self, _):
            return Answer("a")

    Asks(start=Answers()).run({}, journal=file, progress=False)
    [row] = Journal(file).calls().itertuples()
    assert (row.params, row.position is pd.NA) == ({"n": 1}, True)
    assert '"text":"a"' in row.result
    [row] = Journal(file, types=[Answer]).calls().itertuples()
    assert row.result == Answer("a")


def why(file, run=-1):
    """Return the rows of the table."""
    return [tuple(row) for row in Journal(file).why(run).itertuples(index=False)]


def test_why_calls_were_made(file):
    """By node: what was answered, and which part of the key of the others was another one."""
    bad.append("c")

    class Models(Label):
        def __init__(self, model, **settings):
            super().__init__(**settings)
            self.model = model

    def run(model, texts, **options):
        flow = Flow(start=Models(model, on_error="keep", name="models"), name="labels")
        flow.run({"texts": texts}, journal=file, progress=False, **options)

    run("small", ["a", "c"])
    assert why(file) == [("labels/models", 0, 2, "2: its first run")]
    run("small", ["a", "b", "c"])
    assert why(file) == [("labels/models", 1, 2, "1: new input or params; 1: it had no result (failed)")]
    run("large", ["a", "b"])
    assert why(file) == [("labels/models", 0, 2, "2: changed: self.model")]
    run("large", ["a", "a"])
    assert why(file) == [("labels/models", 1, 1, "1: called more often than before, or with another shared, or fresh=")]
    run("large", ["a"])
    assert why(file) == [("labels/models", 1, 0, "")]
    assert why(file, 1) == [("labels/models", 0, 2, "2: its first run")]
    with pytest.raises(KeyError, match="has no run 99"):
        Journal(file).why(99)


def test_why_calls_of_edited_code_were_made(tmp_path):
    """The code has changed."""
    for text in "ab":
        with Cells("a_cell_with_an_edit") as cells:
            module = cells.run(CELL.replace("PROMPT", text))
            Flow(start=module.Ask()).run({"x": 1}, journal=tmp_path / "runs.db", progress=False)
    assert why(tmp_path / "runs.db") == [("Flow/Ask", 0, 1, "1: its code has changed")]


def test_a_journal_in_a_folder_of_its_own(tmp_path, monkeypatch):
    """``True`` names the file after the flow, in a folder that git ignores. Only its owner may read it."""
    monkeypatch.chdir(tmp_path)
    Flow(start=Label(), name="../my flow/é").run({"texts": []}, journal=True, progress=False)
    found = {path.name for path in (tmp_path / ".llmflow").iterdir()}
    assert found == {"_my_flow__.db", "_my_flow__.db-lock", ".gitignore"}
    assert (tmp_path / ".llmflow/.gitignore").read_text() == "*\n"
    assert (tmp_path / ".llmflow/_my_flow__.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("wrong", [5, b"runs.db", ["runs.db"], object()])
def test_what_is_no_journal(wrong):
    """It is refused before anything is called."""
    with pytest.raises(SettingError, match="it must be a file name, a Journal, or True"):
        Flow(start=Label()).run({"texts": ["a"]}, journal=wrong, progress=False)
    assert made == []


def test_types_are_classes(file):
    """A mistake is reported at once."""
    with pytest.raises(SettingError, match="is not a class"):
        Journal(file, types=["Answer"])


def test_no_file_yet(file):
    """To look at a journal creates none."""
    with pytest.raises(JournalError, match="there is no journal"):
        assert Journal(file).runs is None
    assert "there is no journal" in repr(Journal(file))
    assert not file.exists()
