"""Calling rows again: which are called, what they keep, and where a param set goes on."""

import asyncio
import gc
import itertools
import threading
import weakref
from contextlib import suppress

import pandas as pd
import pytest

from llmflow_nb import (
    AllFailedError,
    BatchFlow,
    BatchNode,
    Flow,
    Node,
    RowError,
    RunStateError,
    SettingError,
    SignatureError,
)
from tests.stepper.helpers import Cells

PATIENCE = 10  # seconds after which a test that waits for something gives up


class Model:
    """A model that notes what it is asked, and has no answer to some of it."""

    def __init__(self, *failing, factor=10):
        self.failing, self.factor = set(failing), factor
        self.asked = []

    def __call__(self, item):
        self.asked.append(item)
        if item in self.failing:
            raise LookupError(f"no answer to {item}")
        return item * self.factor

    def take(self):
        """What it was asked since the last time, in order of size."""
        asked, self.asked = sorted(self.asked), []
        return asked


class Ask(BatchNode):
    """Asks the model about each of ``shared["items"]``."""

    model: Model

    def prep(self, shared):
        return shared["items"]

    def exec(self, item):
        return self.model(item)

    def post(self, shared, prep_res, exec_res):
        shared.setdefault("posts", []).append(list(exec_res))
        return "done"


class AskAsync(Ask):
    async def exec(self, item):
        await asyncio.sleep(0)
        return self.model(item)


WAYS = {
    "one by one": (Ask, 1),
    "threads": (Ask, 3),
    "no bound": (Ask, None),
    "tasks": (AskAsync, 3),
    "awaited one by one": (AskAsync, 1),
}


@pytest.fixture(params=WAYS)
def ask(request):
    """A function that makes a node that asks a model, in each way of calling it."""

    def make(model, **settings):
        cls, width = WAYS[request.param]
        return with_model(cls(**{"max_concurrency": width, "on_error": "keep", **settings}), model)

    return make


def with_model(node, model):
    node.model = model
    return node


def ran(node, shared, raises=None):
    """The rows of a node that was run, however the run ended."""
    if raises is None:
        node.run(shared)
    else:
        with pytest.raises(raises):
            node.run(shared)
    return node.last_run.batch(node)


def told(result):
    """What there is to say of every row, but for times."""
    return [(row.item, row.result, row.status, row.attempts) for row in result]


def text(shown):
    return shown._repr_mimebundle_()["text/plain"]


# --- items: which are called, and what becomes of them ---------------------------------------------------------------


def test_failing_again_raises_nothing(ask):
    """Failures of a retry are rows again, also where there is not one that came through, and where they were raised."""
    model = Model(0, 1)
    result = ran(ask(model, on_error="raise", max_concurrency=1), {"items": [0, 1]}, raises=LookupError)
    assert [row.status for row in result] == ["failed", "pending"]
    result.retry()
    assert told(result) == [(0, None, "failed", 2), (1, None, "failed", 1)]
    assert [str(row.error) for row in result] == ["no answer to 0", "no answer to 1"]
    assert result.run.status == "failed"


def test_none_is_a_result():
    """An answer of None counts: the row is not called again, and keeps it."""

    class Silent(Ask):
        def exec(self, item):
            self.model(item)

    result = ran(with_model(Silent(on_error="keep"), model := Model()), {"items": [1]})
    result.retry()
    assert model.take() == [1]
    model.failing.add(1)
    result.retry([0])
    assert told(result) == [(1, None, "ok", 2)]


def test_rows_of_several_visits():
    """Rows are counted over all visits of a node, and are called again in the visit that they are from."""

    class Twice(Ask):
        def prep(self, shared):
            shared["visit"] = self.visit = shared.get("visit", 0) + 1
            return [self.visit * 10, self.visit * 10 + 1]

        def exec(self, item):
            return self.visit, self.model(item)

        def post(self, shared, prep_res, exec_res):
            return "again" if self.visit < 3 else "done"

    node = with_model(Twice(on_error="keep"), model := Model(11, 20, 31))
    node - "again" >> node
    node - "done" >> Node(name="Stop")
    flow = Flow(node)
    flow.run({})
    result = flow.last_run.batch(node)
    model.take()
    model.failing = {20}
    result.retry_failed()
    assert model.take() == [11, 20, 31]
    assert [row.result for row in result] == [(1, 100), (1, 110), None, (2, 210), (3, 300), (3, 310)]
    result.retry([5, 0])
    assert model.take() == [10, 31]


# --- naming rows -----------------------------------------------------------------------------------------------------

TABLE = pd.DataFrame({"n": [1, 2, 3]}, index=["x", "y", "z"])


@pytest.fixture
def of_table():
    """The rows of a node over a table with labels, and its model."""

    class OfTable(Ask):
        def exec(self, row):
            return self.model(row["n"])

    model = Model(2)
    result = ran(with_model(OfTable(on_error="keep"), model), {"items": TABLE})
    model.take()
    model.failing.clear()
    return result, model


@pytest.mark.parametrize(
    ("rows", "called"),
    [
        (lambda df: "y", [2]),
        (lambda df: ["z", "x"], [1, 3]),
        (lambda df: ("x",), [1]),
        (lambda df: {"x", "y"}, [1, 2]),
        (lambda df: df.index[1:], [2, 3]),
        (lambda df: df[df["status"] == "failed"], [2]),
        (lambda df: df["status"] == "failed", [2]),
        (lambda df: df["result"] > 10, [3]),  # of a nullable dtype: what is missing is not meant
        (lambda df: pd.Series(["x", "z"]), [1, 3]),
        (lambda df: (label for label in df.index), [1, 2, 3]),
        (lambda df: ["x", "x"], [1]),
        (lambda df: 2, [3]),
        (lambda df: [0, "z"], [1, 3]),
        (lambda df: df["position"][:2].tolist(), [1, 2]),
        (lambda df: [], []),
        (lambda df: df[0:0], []),
    ],
)
def test_ways_to_name_rows(of_table, rows, called):
    """Rows are named by a label, by several, by a part of ``df``, or by a mask over it; each is called once."""
    result, model = of_table
    result.retry(rows(result.df))
    assert model.take() == called


@pytest.mark.parametrize("rows", ["w", ["x", "w"], ("x", "w")], ids=repr)
def test_an_unknown_label(of_table, rows):
    """A label that is not there is refused with its name, and nothing is called."""
    result, model = of_table
    unknown = rows if not isinstance(rows, list | tuple) else "w"
    with pytest.raises(
        RowError, match=rf"OfTable has no row {unknown!r}; give labels that name one row each, or a part of \.df"
    ):
        result.retry(rows)
    assert model.take() == []
    assert [row.attempts for row in result] == [1, 1, 1]


def test_a_label_that_several_rows_have():
    """A label that is there twice is refused; a part of ``df``, or a mask over it, tells the rows apart."""
    result = ran(with_model(Ask(), model := Model()), {"items": pd.Series([1, 2, 3], index=["a", "b", "a"])})
    model.take()
    with pytest.raises(
        RowError,
        match=r"Ask has 2 rows 'a'; give labels that name one row each, row numbers from 0 \(here 0, 2\), or a part",
    ):
        result.retry("a")
    assert model.take() == []
    result.retry([0, "b"])
    assert model.take() == [1, 2]
    result.retry(result.df["item"] == 3)
    assert model.take() == [3]
    result.retry(result.df[result.df["item"] == 1])
    assert model.take() == [1]


@pytest.mark.parametrize("changed", ["None to NaN", "NaN to None", "another dtype"])
def test_a_part_goes_by_its_labels(changed):
    """The rows of a part of ``df`` are found by label and position; values that changed on the way do not matter."""

    class Sweep(BatchFlow):
        def prep(self, shared):
            return [{"temperature": value} for value in (None, float("nan"), 0.5)]

    class Try(Node):
        def exec(self, prep_res):
            return 1 / shared["y"]

    shared = {"y": 0}
    sweep = Sweep(start=Try(), on_error="keep")
    with pytest.raises(AllFailedError):
        sweep.run(shared)
    shared["y"] = 1
    batch = sweep.last_run.batch("Sweep")
    part = batch.df[batch.df["status"] == "failed"].copy()
    values = {"None to NaN": [float("nan")] * 3, "NaN to None": [None, None, 0.5], "another dtype": ["", "", "0.5"]}
    part["temperature"] = pd.Series(values[changed], dtype=object)
    batch.retry(part[1:])
    assert batch.called_again == [1, 2]


@pytest.mark.parametrize("row", [1, 3, 12, -1])
def test_numbers_that_are_no_labels(row):
    """In an index of numbers a number is a label and no position: one that is none is refused."""
    result = ran(with_model(Ask(), model := Model()), {"items": pd.Series([1, 2, 3], index=[10, 0, 2])})
    model.take()
    with pytest.raises(RowError, match=f"Ask has no row {row}; give labels that name one row each, or a part"):
        result.retry(row)
    assert model.take() == []
    result.retry([0, 10])
    assert model.take() == [1, 2]


def test_errors_name_rows_by_their_labels():
    """An error, the stepper of a row, and the headline name the row by its label."""

    class Fails(Ask):
        def exec(self, item):
            raise ValueError("no")

    node = Fails()
    with pytest.raises(ValueError, match="no") as caught:
        node.run({"items": pd.Series([1, 2], index=["T-0036", "T-0037"])})
    assert "in Fails, item 1 of 2 (row 'T-0036')" in caught.value.__notes__[0]
    batch = node.last_run.batch(node)
    for row in ("T-0036", 0):
        assert "row 'T-0036' of Fails" in repr(batch.debug(row)._repr_mimebundle_())
    assert "at most (row 'T-0036')" in batch._repr_mimebundle_()["text/plain"]


def test_labels_of_an_index_of_numbers():
    """Labels that are numbers are shown as plain ones."""
    result = ran(with_model(Ask(), Model()), {"items": pd.Series([1], index=[36])})
    assert type(result[0].label) is int


def test_a_part_whose_labels_are_there_twice():
    """Where label, visit and position name several rows, the params tell them apart, a missing one too."""

    class Sets(BatchFlow):
        def prep(self, shared):
            return [{"n": None}, {"n": 1.5}]

    node = with_model(Ask(), model := Model())
    flow = Sets(start=node)
    flow.run({"items": pd.Series([1, 2], index=["a", "b"])})
    model.take()
    batch = flow.last_run.batch(node)
    batch.retry(batch.df[batch.df["n"].isna()])
    assert batch.called_again == [0, 1]
    batch.retry(batch.df[batch.df["n"] == 1.5][:1])
    assert batch.called_again == [2]


def test_a_part_with_other_labels(of_table):
    """A part whose labels were reset is refused: its labels name other rows."""
    result, model = of_table
    part = result.df[1:].reset_index(drop=True)
    with pytest.raises(
        RowError, match=r"OfTable has no row \(0, 1, 1\); give labels that name one row each, or a part"
    ):
        result.retry(part)
    assert model.take() == []


def test_a_mask_over_another_table(of_table):
    """A mask that does not fit ``df`` row by row is refused."""
    result, model = of_table
    with pytest.raises(RowError, match=r"OfTable: a mask must have one value for each of the 3 rows of \.df"):
        result.retry(pd.Series([True, False]))
    assert model.take() == []


def test_a_label_that_is_a_tuple():
    """A tuple names one row where the index has it, not two rows."""
    index = pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)])
    result = ran(with_model(Ask(), model := Model()), {"items": pd.Series([1, 2, 3], index=index)})
    model.take()
    result.retry(("a", 2))
    assert model.take() == [2]
    result.retry([("a", 1), ("b", 1)])
    assert model.take() == [1, 3]


def test_a_place_that_is_not_there():
    """Without labels rows are named by their place, which is not counted from the end."""
    result = ran(with_model(Ask(), Model()), {"items": [1, 2]})
    for row in (2, -1):
        with pytest.raises(RowError, match=f"no row {row}"):
            result.retry([row])


# --- when not --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "retry",
    [
        lambda run: run.retry_failed(),
        lambda run: run.batch("Held").retry_failed(),
        lambda run: run.batch("Held").retry(0),
        lambda run: run.batch("Held").retry(),
    ],
    ids=["failed of the run", "failed", "one", "all"],
)
def test_not_while_the_run_goes_on(retry):
    """Rows of a run that has not ended are not called again; once it has, they are."""
    inside, go_on = threading.Event(), threading.Event()

    class Held(BatchNode):
        def prep(self, shared):
            return [0, 1]

        def exec(self, item):
            if item == 0:
                raise LookupError
            inside.set()
            assert go_on.wait(PATIENCE)

    handle = Held(on_error="keep").submit({})
    assert inside.wait(PATIENCE)
    try:
        with pytest.raises(RunStateError, match="the run of Held is still running; wait for it or stop it"):
            retry(handle.run)
    finally:
        go_on.set()
    assert handle.wait(PATIENCE)
    assert [row.attempts for row in handle.run.batch("Held")] == [1, 1]
    retry(handle.run)
    assert [row.attempts for row in handle.run.batch("Held")] == [2, 1]


def test_after_stop_a_submitted_run_can_be_gone_on_with():
    """Of a run that was stopped, the rows that it did not come to can be called."""
    inside, go_on = threading.Event(), threading.Event()

    class Held(Ask):
        def exec(self, item):
            if item == 1 and not go_on.is_set():
                inside.set()
                go_on.wait(PATIENCE)
                raise LookupError("too late")
            return self.model(item)

    handle = with_model(Held(), model := Model()).submit({"items": [0, 1, 2]})
    assert inside.wait(PATIENCE)
    assert handle.stop()
    go_on.set()
    result = handle.run.batch("Held")
    assert [row.status for row in result] == ["ok", "cancelled", "pending"]
    result.retry()
    assert [(row.result, row.status) for row in result] == [(0, "ok"), (10, "ok"), (20, "ok")]
    assert model.take() == [0, 1, 2]
    assert handle.run.status == "stopped"


# --- settings for this time ------------------------------------------------------------------------------------------


def test_settings_for_this_time(ask):
    """Settings and attributes given to a retry hold for it alone."""
    model = Model(1)
    node = ask(model)
    result = ran(node, {"items": [1, 2]})
    model.take()
    result.retry_failed(max_retries=3)
    assert model.take() == [1, 1, 1]
    assert result[0].attempts == 4
    larger = Model(factor=1000)
    result.retry_failed(model=larger)
    assert (larger.take(), model.take()) == ([1], [])
    assert told(result) == [(1, 1000, "ok", 5), (2, 20, "ok", 1)]
    assert node.model is model
    assert node.max_retries == 1
    assert "max_retries" not in vars(node)


def test_on_error_and_timeout_for_this_time():
    """A retry keeps failures whatever the node says, and the node says the same after it."""
    node = with_model(Ask(max_concurrency=2), model := Model(1))
    result = ran(node, {"items": [1]}, raises=LookupError)
    result.retry_failed(timeout=PATIENCE, wait=0)
    assert told(result) == [(1, None, "failed", 2)]
    assert node.on_error == "raise"
    model.failing.clear()
    result.retry_failed()
    assert told(result) == [(1, 10, "ok", 3)]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"max_retry": 3}, r"Ask has no setting 'max_retry' .* \(did you mean 'max_retries'\?\)"),
        ({"mode": "larger"}, r"Ask has no setting 'mode' .* \(did you mean 'model'\?\)"),
        ({"zzz": 1}, r"Ask has no setting 'zzz' that a retry can change$"),
        ({"exec": len}, "no setting 'exec'"),
        ({"name": "Other"}, "no setting 'name'"),
        ({"params": {}}, "no setting 'params'"),
        ({"on_error": "raise"}, "no setting 'on_error'"),
        ({"cur_retry": 3}, "no setting 'cur_retry'"),
        ({"run": 3}, "no setting 'run'"),
        ({"_kind": "node"}, "no setting '_kind'"),
        ({"max_retries": 0}, r"Ask\(max_retries=0\): max_retries must be 1 \(try once\) or more"),
        ({"max_concurrency": 0}, "max_concurrency must be 1 or more"),
        ({"timeout": -1}, "timeout must be seconds, more than 0"),
        ({"limiter": 3}, "limiter must be a Limiter or None"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense(overrides, message):
    """A setting that there is not, or that cannot have this value, is refused before anything is called."""
    result = ran(with_model(Ask(on_error="keep"), model := Model(1)), {"items": [1, 2]})
    before, notes = told(result), list(result.run.notes)
    model.take()
    with pytest.raises(SettingError, match=message):
        result.retry(**overrides)
    assert model.take() == []
    assert told(result) == before
    assert result.run.notes == notes
    model.failing.clear()
    assert [row.status for row in result.retry()] == ["ok", "ok"]


class Loop(Ask):
    """Three visits of four items each, of which the first is answered and the others only once ``fixed``."""

    fixed = False

    def prep(self, shared):
        self.visit = shared["visit"] = shared.get("visit", 0) + 1
        return range(4)

    def post(self, shared, prep_res, exec_res):
        return "again" if self.visit < 3 else "done"

    def answer(self, item):
        if item and not self.fixed:
            raise LookupError
        return self.visit, item


@pytest.mark.parametrize("limit", [1, 2, 5, 7, None])
@pytest.mark.parametrize("is_async", [False, True], ids=["threads", "tasks"])
def test_max_concurrency_holds_over_all_visits_together(limit, is_async):
    """With rows of several visits in one retry, no more calls are in flight than ``max_concurrency`` says."""
    lock, in_flight, peaks = threading.Lock(), [], []

    def enter():
        with lock:
            in_flight.append(1)
            peaks.append(len(in_flight))

    class Blocking(Loop):
        def exec(self, item):
            enter()
            sum(range(20_000))  # for a moment, so that others come in where they may
            in_flight.pop()
            return self.answer(item)

    class Awaited(Loop):
        async def exec(self, item):
            enter()
            for _ in range(5):
                await asyncio.sleep(0)
            in_flight.pop()
            return self.answer(item)

    node = (Awaited if is_async else Blocking)(on_error="keep")
    node - "again" >> node
    node - "done" >> Node(name="Stop")
    flow = Flow(node)
    flow.run({})
    assert max(peaks) == 1
    peaks.clear()
    result = flow.last_run.batch(node)
    result.retry_failed(max_concurrency=limit, fixed=True)
    assert [row.result for row in result] == [(visit, item) for visit in (1, 2, 3) for item in range(4)]
    assert len(peaks) == 9
    assert max(peaks) <= (limit or 9)
    if is_async:
        assert max(peaks) > 1 or limit == 1


@pytest.mark.parametrize("is_async", [False, True], ids=["threads", "tasks"])
def test_visits_share_all_of_max_concurrency(is_async):
    """Where one visit has fewer rows to retry than its share, others use the rest of the limit."""
    meeting, met = threading.Barrier(4), []

    class Blocking(Loop):
        def exec(self, item):
            if self.fixed:
                meeting.wait(PATIENCE)
            return self.answer(item)

    class Awaited(Loop):
        async def exec(self, item):
            if self.fixed:
                met.append(item)
                async with asyncio.timeout(PATIENCE):
                    while len(met) < 4:
                        await asyncio.sleep(0)
            return self.answer(item)

    node = (Awaited if is_async else Blocking)(on_error="keep")
    node - "again" >> node
    node - "done" >> Node(name="Stop")
    flow = Flow(node)
    flow.run({})
    result = flow.last_run.batch(node)
    assert [row.status for row in result].count("failed") == 9
    result.retry([1, 5, 6, 7], max_concurrency=4, fixed=True)
    assert {result[row].status for row in (1, 5, 6, 7)} == {"ok"}


# --- post ------------------------------------------------------------------------------------------------------------


def test_post_with_all_results(ask):
    """``post=True`` runs ``post`` once more, with the results of all rows; its action is not followed."""
    visited = []

    class After(Node):
        def prep(self, shared):
            visited.append("After")

    model = Model(1)
    node = ask(model)
    node - "done" >> After()
    shared = {"items": [1, 2]}
    flow = Flow(node)
    flow.run(shared)
    result = flow.last_run.batch(node)
    model.failing.clear()
    result.retry_failed()
    assert shared["posts"] == [[None, 20]]
    result.retry([1], post=True)
    assert shared["posts"] == [[None, 20], [10, 20]]
    assert visited == ["After"]
    assert len(flow.last_run.visits) == 3
    assert [note.partition("; ")[2].partition(",")[0] for _, note in flow.last_run.notes] == [
        f"post and the nodes after {type(node).__name__} were not run again",
        "post ran again with all results",
    ]


def test_post_runs_once_for_each_visit():
    """With rows of several visits, ``post`` runs once for each of them, with the results of that visit."""

    class Pages(BatchNode):
        def prep(self, shared):
            return [self.params["page"], 5]

        def exec(self, item):
            return self.model(item)

        def post(self, shared, prep_res, exec_res):
            shared["posts"].append((prep_res, exec_res))

    class Book(BatchFlow):
        def prep(self, shared):
            return [{"page": page} for page in range(3)]

    node = with_model(Pages(on_error="keep"), model := Model(0, 2))
    shared = {"posts": []}
    flow = Book(node)
    flow.run(shared)
    assert shared["posts"] == [([0, 5], [None, 50]), ([1, 5], [10, 50]), ([2, 5], [None, 50])]
    shared["posts"].clear()
    model.failing = {2}
    flow.last_run.batch(node).retry_failed(post=True)
    assert shared["posts"] == [([0, 5], [0, 50]), ([2, 5], [None, 50])]


def test_post_without_rows_to_call():
    """With no row to be called, ``post=True`` runs ``post`` of every visit alone."""
    shared = {"items": [1, 2]}
    result = ran(with_model(Ask(), model := Model()), shared)
    model.take()
    result.retry(post=True)
    assert model.take() == []
    assert shared["posts"] == [[10, 20], [10, 20]]


def test_post_waits_for_all_results_where_failures_are_raised():
    """With ``on_error="raise"``, ``post`` is not run while a row has no result, and is once all have one."""
    shared = {"items": [1, 2, 3]}
    result = ran(with_model(Ask(), model := Model(1, 3)), shared, raises=LookupError)
    model.failing = {3}
    result.retry(post=True)
    assert "posts" not in shared
    assert result.run.notes[-1][1].endswith("post was not run again, because rows have no result")
    model.failing.clear()
    result.retry(post=True)
    assert shared["posts"] == [[10, 20, 30]]


def test_an_exception_in_post_comes_out():
    """What ``post`` raises in a retry comes out, and the rows that were called before it stay as they are."""

    class Picky(Ask):
        def post(self, shared, prep_res, exec_res):
            if self.strictly:
                raise ZeroDivisionError("not these")

    node = with_model(Picky(on_error="keep"), model := Model(1))
    node.strictly = False
    result = ran(node, {"items": [1, 2]})
    model.failing.clear()
    with pytest.raises(ZeroDivisionError, match="not these"):
        result.retry_failed(post=True, strictly=True)
    assert told(result) == [(1, 10, "ok", 2), (2, 20, "ok", 1)]
    assert result.run.status == "ok"
    result.retry([0], post=True)
    assert told(result)[0] == (1, 10, "ok", 3)


def test_post_where_not_one_came_through(ask):
    """Where all rows failed again, ``post`` is not run, as in a run, and nothing is raised."""
    model = Model(1, 2)
    shared = {"items": [1, 2]}
    result = ran(ask(model), shared, raises=AllFailedError)
    result.retry_failed(post=True)
    assert "posts" not in shared
    assert [row.status for row in result] == ["failed", "failed"]


def test_what_prep_left_on_the_node():
    """What ``prep`` set on the node is there again for ``exec`` and ``post``, of each visit its own."""

    class Prompt(BatchNode):
        def prep(self, shared):
            self.prompt = f"prompt {self.params['page']}"
            return [0, 1]

        def exec(self, item):
            return self.model(item), self.prompt

        def post(self, shared, prep_res, exec_res):
            shared.setdefault("prompts", []).append(self.prompt)

    class Book(BatchFlow):
        def prep(self, shared):
            return [{"page": page} for page in "ab"]

    node = with_model(Prompt(on_error="keep"), model := Model(1))
    flow = Book(node)
    shared = {}
    flow.run(shared)
    model.failing.clear()
    result = flow.last_run.batch(node).retry_failed(post=True)
    assert [row.result for row in result] == [(0, "prompt a"), (10, "prompt a"), (0, "prompt b"), (10, "prompt b")]
    assert shared["prompts"] == ["prompt a", "prompt b"] * 2


# --- classes that were edited ----------------------------------------------------------------------------------------

EDITED = """
from llmflow_nb import BatchFlow, BatchNode, Node

class Shorten(BatchNode):
    {slots}
    def prep(self, shared):
        self.left = "in prep"
        return shared["items"]

    def exec(self, item):
        if item in {failing}:
            raise LookupError(item)
        return "{version}", item, self.left

class Inner(Node):
    def prep(self, shared):
        return self.params["n"]

    def exec(self, n):
        if n in {failing}:
            raise LookupError(n)
        return "{version}", n

class Sets(BatchFlow):
    def prep(self, shared):
        return [{{"n": n}} for n in range(3)]
"""


@pytest.fixture
def cell():
    """A notebook's namespace, and a function that runs the cell with the classes, as it is or edited."""
    cells = Cells("a_notebook_of_a_test")

    def run(**changes):
        parts = {"slots": "", "failing": "()", "version": "old", **changes}
        return cells.run(EDITED.format(**parts))

    with cells:
        yield run


@pytest.mark.parametrize("width", [1, 2])
def test_an_edited_class_counts(cell, width):
    """A retry uses the class as it is after its cell was run again, for the rows that it calls; the node is of it."""
    node = cell(failing="(1,)").Shorten(on_error="keep", max_concurrency=width)
    result = ran(node, {"items": [0, 1]})
    edited = cell(version="new").Shorten
    assert type(node) is not edited
    result.retry_failed()
    assert [row.result for row in result] == [("old", 0, "in prep"), ("new", 1, "in prep")]
    assert type(node) is edited
    node.run({"items": [5]})
    assert node.last_run.batch(node).results == [("new", 5, "in prep")]


@pytest.mark.parametrize("width", [1, 2])
def test_an_edited_class_within_a_flow_counts(cell, width):
    """So it is for the nodes within a batch flow whose param sets are walked again."""
    module = cell(failing="(1,)")
    node = module.Inner()
    flow = module.Sets(node, on_error="keep", max_concurrency=width)
    result = ran(flow, {})
    cell(version="new")
    result.retry_failed()
    assert result.results == [("old", 0), ("new", 1), ("old", 2)]


def test_an_edit_that_fails_again_and_one_that_does_not(cell):
    """Each retry takes up the latest edit."""
    node = cell(failing="(0, 1)").Shorten(on_error="keep")
    result = ran(node, {"items": [0, 1, 2]})
    cell(failing="(1,)", version="second")
    result.retry_failed()
    cell(version="third")
    result.retry_failed()
    assert [row.result[0] for row in result] == ["second", "third", "old"]
    assert [row.attempts for row in result] == [2, 3, 1]


def test_an_edit_of_the_layout_is_refused(cell):
    """A class that now has other ``__slots__`` cannot be taken over; that is said, and nothing is called."""
    node = cell(failing="(1,)").Shorten(on_error="keep")
    result = ran(node, {"items": [0, 1]})
    cell(slots="__slots__ = ('left',)", version="new")
    with pytest.raises(SignatureError, match=r"Shorten was edited, .* cannot change to it:"):
        result.retry_failed()
    assert [row.attempts for row in result] == [1, 1]
    cell(version="newer")
    result.retry_failed()
    assert result[1].result == ("newer", 1, "in prep")


def test_a_name_that_stands_for_something_else_now(cell):
    """What is no class of the same kind is not taken for the edited one."""
    node = cell(failing="(1,)").Shorten(on_error="keep")
    result = ran(node, {"items": [0, 1]})
    cell().Shorten = Node
    result.retry_failed()
    assert [(row.status, row.attempts) for row in result] == [("ok", 1), ("failed", 2)]


# --- where items come from -------------------------------------------------------------------------------------------


def a_generator(n):
    yield from range(n)


async def an_async_generator(n):
    for item in range(n):
        yield item


SOURCES = ["generator", "range", "async generator", "map"]


@pytest.mark.parametrize("source", [a_generator, range, an_async_generator, lambda n: map(int, "0123")], ids=SOURCES)
def test_items_of_any_input(ask, source):
    """Items that were read from a generator and the like are there to be called again."""
    model = Model(1, 3)
    shared = {"items": source(4)}
    result = ran(ask(model), shared)
    assert [row.status for row in result] == ["ok", "failed", "ok", "failed"]
    model.failing.clear()
    model.take()
    result.retry_failed(post=True)
    assert model.take() == [1, 3]
    assert shared["posts"][1:] == [[0, 10, 20, 30]]


@pytest.mark.parametrize(
    "source", [a_generator, range, an_async_generator, lambda n: list(range(n))], ids=[*SOURCES[:3], "list"]
)
def test_items_that_were_not_kept(ask, source):
    """With ``keep_items=False`` the rows that failed can be called again, however often, and the others are refused."""
    model = Model(1, 3)
    result = ran(ask(model, keep_items=False), {"items": source(4)})
    model.take()
    with pytest.raises(RowError, match="the item of row 2 was not kept, so it cannot be retried; keep_items=True"):
        result.retry([1, 2])
    assert model.take() == []
    model.failing = {3}
    result.retry_failed()
    model.failing.clear()
    result.retry_failed()
    assert model.take() == [1, 3, 3]
    assert result.results == [0, 10, 20, 30]
    assert [row.attempts for row in result] == [1, 2, 1, 3]


class Promising:
    """Three items that say they are five."""

    def __len__(self):
        return 5

    def __iter__(self):
        return iter([1, 2, 3])


def test_fewer_items_than_their_length_had_said(ask):
    """Rows of which there turns out to be no item, as they are to be called, are no rows any more."""
    model = Model(1)
    result = ran(ask(model, on_error="raise", max_concurrency=1), {"items": Promising()}, raises=LookupError)
    assert [row.status for row in result] == ["failed", "pending", "pending", "pending", "pending"]
    model.failing.clear()
    result.retry()
    assert told(result) == [(1, 10, "ok", 2), (2, 20, "ok", 1), (3, 30, "ok", 1)]


def test_items_of_a_closed_generator_that_were_not_read():
    """After a failure that stopped a generator, the rows are those that were read, and all of them can be called."""
    result = ran(with_model(Ask(), model := Model(1)), {"items": a_generator(4)}, raises=LookupError)
    model.failing.clear()
    result.retry()
    assert told(result) == [(0, 0, "ok", 1), (1, 10, "ok", 2)]


def test_items_that_are_dicts_of_a_table():
    """Each row of a DataFrame is called again as the dict that it was, under its label."""
    table = pd.DataFrame({"n": [1, 2], "text": ["a", "b"]}, index=[7, 8])

    class OfTable(Ask):
        def exec(self, row):
            self.model(row["n"])
            return row

    result = ran(with_model(OfTable(on_error="keep"), model := Model(2)), {"items": table})
    model.failing.clear()
    result.retry(8)
    assert result.results == [{"n": 1, "text": "a"}, {"n": 2, "text": "b"}]
    assert list(result.df.index) == [7, 8]


# --- interrupts ------------------------------------------------------------------------------------------------------


class Interrupted(Ask):
    """Is interrupted while it is at the item that ``shared`` says, by someone at the keyboard."""

    interrupt_at = None

    def exec(self, item):
        if item == self.interrupt_at:
            self.model.asked.append(item)
            raise KeyboardInterrupt
        return self.model(item)


@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_an_interrupted_retry(at):
    """After an interrupt, rows that were called have their results, the others are as they were or cancelled."""
    node = with_model(Interrupted(on_error="keep"), model := Model(0, 1, 2, 3))
    result = ran(node, {"items": [0, 1, 2, 3, 4]})
    model.failing.clear()
    model.take()
    with pytest.raises(KeyboardInterrupt):
        result.retry_failed(interrupt_at=at)
    assert model.take() == list(range(at + 1))
    expected = [(n, n * 10, "ok", 2) for n in range(at)] + [(at, None, "cancelled", 2)]
    expected += [(n, None, "failed", 1) for n in range(at + 1, 4)] + [(4, 40, "ok", 1)]
    assert told(result) == expected
    assert [str(row.error) for row in result][at + 1 : 4] == [f"no answer to {n}" for n in range(at + 1, 4)]
    assert sum(result.counts.values()) == len(result.df) == 5
    assert result.run.calls == 5 + at + 1
    result.retry()
    assert [(row.result, row.status) for row in result] == [(n * 10, "ok") for n in range(5)]
    assert model.take() == list(range(at, 4))


@pytest.mark.parametrize("width", [1, 2])
def test_an_interrupted_retry_of_what_has_results(width):
    """A row that has a result keeps it where the retry of it is interrupted."""
    node = with_model(Interrupted(max_concurrency=width), Model())
    result = ran(node, {"items": [0, 1, 2]})
    with pytest.raises(KeyboardInterrupt):
        result.retry([0, 1, 2], interrupt_at=0)
    assert [(row.result, row.status) for row in result] == [(0, "ok"), (10, "ok"), (20, "ok")]
    result.retry([0])
    assert result[0].result == 0


def test_rows_that_were_never_reached_in_an_interrupted_retry():
    """A row that was pending is pending again where a retry is interrupted before it, and can be called later."""
    node = with_model(Interrupted(), model := Model(0))
    result = ran(node, {"items": [0, 1, 2, 3]}, raises=LookupError)
    with pytest.raises(KeyboardInterrupt):
        result.retry(interrupt_at=1)
    assert [(row.status, row.attempts) for row in result] == [
        ("failed", 2),
        ("cancelled", 1),
        ("pending", 0),
        ("pending", 0),
    ]
    assert result.counts == {"failed": 1, "cancelled": 1, "pending": 2}
    model.failing.clear()
    result.retry()
    assert told(result) == [(0, 0, "ok", 3), (1, 10, "ok", 2), (2, 20, "ok", 1), (3, 30, "ok", 1)]


def test_rows_of_an_interrupted_run():
    """``retry()`` calls what an interrupt had left, and what was there is not asked for again."""
    node = with_model(Interrupted(), model := Model())
    node.interrupt_at = 2
    result = ran(node, {"items": [0, 1, 2, 3]}, raises=KeyboardInterrupt)
    assert [row.status for row in result] == ["ok", "ok", "cancelled", "pending"]
    model.take()
    node.interrupt_at = None
    result.retry()
    assert model.take() == [2, 3]
    assert told(result) == [(0, 0, "ok", 1), (1, 10, "ok", 1), (2, 20, "ok", 2), (3, 30, "ok", 1)]
    assert result.run.status == "interrupted"


def test_in_a_running_event_loop():
    """A retry works in a cell, on whose thread an event loop is running, for plain and for async calls."""

    async def cell(cls):
        node = with_model(cls(on_error="keep", max_concurrency=2), model := Model(1))
        await node.run_async({"items": [0, 1]})
        model.failing.clear()
        return node.last_run.batch(node).retry_failed()

    for cls in (Ask, AskAsync):
        assert told(asyncio.run(cell(cls))) == [(0, 0, "ok", 1), (1, 10, "ok", 2)]


# --- notes -----------------------------------------------------------------------------------------------------------


def test_rows_that_were_never_begun_come_through_too():
    """After a batch that stopped at its first failure, a retry of what was pending counts what it brought."""
    node = with_model(Ask(), model := Model(1))
    with pytest.raises(LookupError):
        node.run({"items": [0, 1, 2, 3]})
    model.failing.clear()
    result = node.last_run.batch(node)
    result.retry(result.df[result.df["status"] == "pending"])
    assert [note.partition(";")[0] for _, note in result.run.notes] == ["2 rows retried, 2 succeeded"]


def test_notes_say_what_was_done():
    """Each retry leaves a note, in the record and where the batch and the run are shown."""
    node = with_model(Ask(on_error="keep"), model := Model(1, 2))
    result = ran(node, {"items": [0, 1, 2]})
    run = result.run
    assert run.notes == []
    model.failing = {2}
    result.retry_failed()
    note = "2 rows retried, 1 succeeded; post and the nodes after Ask were not run again"
    assert run.notes == [("Ask", note)]
    assert f"! {note}" in text(result)
    assert f"Ask: {note}" in text(run)
    assert "Ask: some failed" in text(result)
    model.failing.clear()
    result.retry_failed(post=True)
    assert run.notes[1:] == [
        ("Ask", "1 row retried, 1 succeeded; post ran again with all results, but the nodes after Ask did not")
    ]
    result.retry_failed()
    assert run.notes[2:] == [("Ask", "0 rows retried; post and the nodes after Ask were not run again")]
    assert "Ask: ok" in text(result)
    assert "0 rows retried" in text(result)


def test_an_interrupted_retry_leaves_a_note():
    """The note of a retry that was interrupted counts what came through by then."""
    node = with_model(Interrupted(on_error="keep"), model := Model(0, 1, 2))
    result = ran(node, {"items": [0, 1, 2, 3]})
    model.failing.clear()
    with pytest.raises(KeyboardInterrupt):
        result.retry_failed(interrupt_at=1)
    assert [note.partition(";")[0] for _, note in result.run.notes] == ["2 rows retried, 1 succeeded"]


# --- param sets: where they go on ------------------------------------------------------------------------------------


class Script:
    """What the hooks do: they say that they were called, and fail where it is written."""

    def __init__(self, *failing):
        self.failing = set(failing)
        self.done = []

    def __call__(self, node, hook, item=""):
        where = ".".join(str(value) for value in node.params.values())
        what = f"{node.name} {hook} {where}{item}"
        self.done.append(what)
        if what in self.failing:
            raise LookupError(what)
        return f"{node.name} {where}{item}"

    def take(self):
        done, self.done = self.done, []
        return done


class Step(Node):
    """Does what the script says; its ``exec`` gets what ``prep`` returned."""

    script: Script

    def prep(self, shared):
        return self.script(self, "prep")

    def exec(self, prep_res):
        return f"{self.script(self, 'exec')} of {prep_res}"

    def post(self, shared, prep_res, exec_res):
        self.script(self, "post")


class AsyncStep(Step):
    async def prep(self, shared):
        return self.script(self, "prep")

    async def exec(self, prep_res):
        await asyncio.sleep(0)
        return f"{self.script(self, 'exec')} of {prep_res}"

    async def post(self, shared, prep_res, exec_res):
        self.script(self, "post")


class Map(BatchNode):
    """The same with three items."""

    script: Script

    def prep(self, shared):
        self.script(self, "prep")
        return ["a", "b", "c"]

    def exec(self, item):
        return self.script(self, "exec", item)

    def post(self, shared, prep_res, exec_res):
        self.script(self, "post")


class Sets(BatchFlow):
    """Three walks; each walk has a number under the flow's name."""

    def prep(self, shared):
        return [{self.name: n} for n in range(3)]


def chain(script, *nodes, **flow_settings):
    """Nodes one after the other, and the first of them."""
    for node in nodes:
        node.script = script
    for node, after in itertools.pairwise(nodes):
        node >> after
    return nodes[0]


WIDTHS = [1, 3]
widths = pytest.mark.parametrize("width", WIDTHS)

REST = ["B prep 1", "B exec 1", "B post 1", "C prep 1", "C exec 1", "C post 1"]


def chain_of_three(step, script, width, **settings):
    return Sets(chain(script, *(step(name=name) for name in "ABC")), name="S", max_concurrency=width, **settings)


class Hooked(Flow):
    """A flow with hooks of its own, which do what the script says."""

    script: Script

    def prep(self, shared):
        self.left = self.script(self, "prep")

    def post(self, shared, prep_res, exec_res):
        self.script(self, "post")
        shared.setdefault("left", []).append(self.left)
        return exec_res


class Folders(BatchFlow):
    """A nested batch: its ``exec`` returns the elements that its walk is made for."""

    def prep(self, shared):
        return [{"folder": n} for n in range(2)]

    def exec(self, element):
        self.script.done.append(f"list {element['folder']}")
        return [{"file": n} for n in range(3)]


class MapOnce(Map):
    """The same, with items that can be read only once."""

    def prep(self, shared):
        return iter(item for item in super().prep(shared))


class SetsOnce(Sets):
    """The same walks, from what can be read only once."""

    def prep(self, shared):
        return (params for params in super().prep(shared))


class Strays(Step):
    """Its ``post`` returns an action without an edge for the second set, where the script says so."""

    def post(self, shared, prep_res, exec_res):
        super().post(shared, prep_res, exec_res)
        return "astray" if self.params["S"] == 1 and "stray" in self.script.failing else "default"


def hooks(*names, of="1"):
    return [f"{name} {hook} {of}" for name in names for hook in ("prep", "exec", "post")]


def in_sets(*nodes, flow=Sets, **settings):
    """A function that makes a flow of three param sets over these nodes, which are made by what stands for them."""

    def make(script, width):
        made = [node(script, width) if callable(node) else Step(name=node) for node in nodes]
        outer = flow(chain(script, *made), name="S", max_concurrency=width, **{"on_error": "keep", **settings})
        outer.script = script
        return outer

    return make


def within(cls, name, *inner, **settings):
    """What stands for a flow of steps within a flow."""

    def make(script, width):
        nodes = [node(script, width) if callable(node) else Step(name=node) for node in inner]
        flow = cls(chain(script, *nodes), name=name, **settings)
        flow.script = script
        return flow

    return make


def batch(cls, **settings):
    return lambda script, width: cls(name="B", **settings)


def awaited(name):
    return lambda script, width: AsyncStep(name=name)


A_FLOW_IN_A_FLOW = within(Flow, "O", within(Flow, "I", "A", "B"), "C")
ITEMS = ["B exec 1a", "B exec 1b", "B exec 1c"]
END = hooks("C")
# How the flow is made, where it fails, at which node that is, and what is called once it is repaired.
PLACES = {
    "prep": (in_sets("A", "B", "C"), ["B prep 1"], "S/B", REST),
    "exec": (in_sets("A", "B", "C"), ["B exec 1"], "S/B", REST[1:]),
    "post": (in_sets("A", "B", "C"), ["B post 1"], "S/B", REST[2:]),
    "an async exec": (in_sets(*[awaited(name) for name in "ABC"]), ["B exec 1"], "S/B", REST[1:]),
    "prep of an inner flow's step": (in_sets(A_FLOW_IN_A_FLOW, "D"), ["B prep 1"], "S/O/I/B", REST + hooks("D")),
    "exec of an inner flow's step": (in_sets(A_FLOW_IN_A_FLOW, "D"), ["B exec 1"], "S/O/I/B", REST[1:] + hooks("D")),
    "post of an inner flow's step": (in_sets(A_FLOW_IN_A_FLOW, "D"), ["B post 1"], "S/O/I/B", REST[2:] + hooks("D")),
    "within a flow with hooks": (
        in_sets(within(Hooked, "I", "A", "B"), "C"),
        ["B exec 1"],
        "S/I/B",
        ["B exec 1", "B post 1", "I post 1", *END],
    ),
    "post of an inner flow": (in_sets(within(Hooked, "I", "A"), "C"), ["I post 1"], "S/I", ["I post 1", *END]),
    "an item": (in_sets("A", batch(Map), "C"), ["B exec 1b"], "S/B", [*ITEMS[1:], "B post 1", *END]),
    "all items": (in_sets(batch(Map, on_error="keep"), "C"), ITEMS, "S/B", [*ITEMS, "B post 1", *END]),
    "an item of a closed generator": (
        in_sets("A", batch(MapOnce), "C"),
        ["B exec 1b"],
        "S/B",
        ["B prep 1", *ITEMS, "B post 1", *END],
    ),
    "a set of a closed generator": (
        in_sets(within(SetsOnce, "I", "A")),
        ["A exec 1.1"],
        "S/I/A",
        [what for n in range(3) for what in hooks("A", of=f"1.{n}")],
    ),
    "between two nodes": (in_sets(lambda *_: Strays(name="B"), "C", strict=True), ["stray"], "S", REST),
}


@pytest.mark.parametrize("whole_run", [False, True])
@widths
@pytest.mark.parametrize("place", PLACES)
def test_where_a_param_set_goes_on(place, width, whole_run):
    """At the hook that failed; what had returned is not called again. Where nothing can be resumed it begins anew."""
    make, failing, failed_at, rest = PLACES[place]
    script = Script(*failing)
    result = ran(make(script, width), {"s": 1})
    assert [(row.status, row.failed_at) for row in result] == [("ok", None), ("failed", failed_at), ("ok", None)]
    script.take()
    script.failing.clear()
    if whole_run:
        result.run.retry_failed()
    else:
        result.retry_failed()
    assert script.take() == rest
    assert [(row.status, row.attempts, row.failed_at) for row in result] == [
        ("ok", 1 + (n == 1), None) for n in range(3)
    ]
    assert all(set(batch.counts) == {"ok"} for batch in result.run.batches)
    assert result.results == ran(make(Script(), width), {"s": 1}).results


@widths
def test_a_flows_post_sees_what_its_prep_had_left(width):
    """The ``post`` of a flow around the step that failed finds the attributes that its ``prep`` had set."""
    script = Script("B exec 1")
    shared = {"left": []}
    result = ran(in_sets(within(Hooked, "I", "A", "B"))(script, width), shared)
    script.failing.clear()
    shared["left"].clear()
    result.retry_failed()
    assert shared["left"] == ["I 1"]


@widths
@pytest.mark.parametrize("path", ["S/I", "S.exec", "S"])
def test_rows_that_are_walked_in_a_flow_of_param_sets(path, width):
    """A failure that is a row of a flow within, or of the elements of an exec, is resumed, alone or with its set."""
    script = Script("B exec 1.1")
    if path == "S/I":
        flow = in_sets(within(Sets, "I", "A", "B", on_error="keep"))(script, width)
    else:
        flow = in_sets("A", "B", flow=Folders, on_error="raise" if path == "S" else "keep")(script, 1)
    with suppress(LookupError):
        flow.run({})
    result = flow.last_run.batch(path)
    assert result.counts["failed"] == 1
    script.take()
    script.failing.clear()
    result.retry(max_concurrency=width)
    left = hooks("A", "B", of="1.2") if path == "S" else []
    assert script.take() == ["B exec 1.1", "B post 1.1", *left]
    assert all(set(batch.counts) == {"ok"} for batch in flow.last_run.batches)


@widths
def test_a_failed_item_is_called_once(width):
    """Where the set fails again at the item, or the node keeps it, the item is not called once more by itself."""
    for node in (Map(name="B"), Map(name="B", on_error="keep")):
        script = Script("B exec 1b")
        flow = Sets(chain(script, node, Step(name="C")), name="S", max_concurrency=width, on_error="keep")
        flow.run({})
        script.take()
        flow.last_run.retry_failed()
        assert script.take() == ["B exec 1b"]


@widths
@pytest.mark.parametrize("hook", ["prep", "exec", "post"])
def test_a_param_set_fails_again_and_goes_on_again(hook, width):
    """A param set that fails again, there or further on, can be gone on with from there, however often."""
    script = Script(f"B {hook} 1")
    result = ran(chain_of_three(Step, script, width, on_error="keep"), {"s": 1})
    script.take()
    for _ in range(3):
        result.retry_failed()
        assert script.take() == [f"B {hook} 1"]
    assert result[1].attempts == 4
    script.failing = {"C exec 1"}
    result.retry_failed()
    assert script.take() == [*REST[REST.index(f"B {hook} 1") :]][:-1]
    assert (result[1].status, result[1].failed_at) == ("failed", "S/C")
    script.failing.clear()
    result.retry_failed()
    assert script.take() == ["C exec 1", "C post 1"]
    assert (result[1].result, result[1].attempts) == ("C 1 of C 1", 6)


@widths
def test_attempts_of_exec_count_anew(width):
    """The ``exec`` at which a param set goes on has all its attempts again."""
    script = Script("B exec 1")
    node = chain_of_three(Step, script, width, on_error="keep")
    node.start_node.successors["default"].max_retries = 3
    result = ran(node, {})
    calls = result.run.calls
    script.take()
    result.retry_failed()
    assert script.take() == ["B exec 1"] * 3
    assert result.run.calls == calls + 3


def test_no_post_of_the_elements_that_exec_returned():
    """A flow's ``post`` gets the results of param sets, so ``post=True`` is refused, and nothing is called."""
    script = Script("B exec 1.1")
    flow = Folders(chain(script, Step(name="B")), name="F", on_error="keep")
    flow.script = script
    flow.run({})
    script.take()
    with pytest.raises(SettingError, match=r"post=True is not possible for F\.exec: no post belongs"):
        flow.last_run.batch("F.exec").retry_failed(post=True)
    assert script.take() == []


@widths
def test_params_that_were_not_reached(width):
    """``retry()`` also walks the sets that a failure had left out, from their beginning."""
    script = Script("B exec 0")
    result = ran(chain_of_three(Step, script, 1), {}, raises=LookupError)
    assert [row.status for row in result] == ["failed", "pending", "pending"]
    script.take()
    script.failing.clear()
    result.retry(max_concurrency=width)
    done = script.take()
    assert [what for what in done if what.endswith("0")] == ["B exec 0", "B post 0", "C prep 0", "C exec 0", "C post 0"]
    assert [what for what in done if what.endswith("1")] == ["A prep 1", "A exec 1", "A post 1", *REST]
    assert [(row.result, row.status, row.attempts) for row in result] == [
        (f"C {n} of C {n}", "ok", 1 + (n == 0)) for n in range(3)
    ]


@widths
def test_a_set_that_is_ok_is_walked_anew(width):
    """A set that came through is walked from its beginning when it is asked for."""
    script = Script()
    result = ran(chain_of_three(Step, script, width), {})
    script.take()
    result.retry([1])
    assert script.take() == ["A prep 1", "A exec 1", "A post 1", *REST]
    script.failing.add("B exec 1")
    result.retry([1])
    assert (result[1].result, result[1].status, result[1].attempts) == ("C 1 of C 1", "ok", 3)


def test_post_of_a_batch_flow():
    """``post=True`` gives the flow's ``post`` the results of all walks."""

    class Combining(Sets):
        def post(self, shared, prep_res, exec_res):
            shared["posts"].append((prep_res, exec_res))

    script = Script("A exec 1")
    shared = {"posts": []}
    result = ran(Combining(chain(script, Step(name="A")), name="S", on_error="keep"), shared)
    script.failing.clear()
    shared["posts"].clear()
    result.retry_failed(post=True)
    assert shared["posts"] == [([{"S": 0}, {"S": 1}, {"S": 2}], [f"A {n} of A {n}" for n in range(3)])]


# --- param sets: whether they go on ----------------------------------------------------------------------------------

WHOLE = ["A prep 1", "A exec 1", "A post 1", *REST]
AT_B = REST[1:]


@widths
@pytest.mark.parametrize(
    ("change", "from_start", "done"),
    [
        (lambda shared: None, None, AT_B),
        (lambda shared: shared.update(text="other"), None, WHOLE),
        (lambda shared: shared.update(more=1), None, WHOLE),
        (lambda shared: shared.pop("text"), None, WHOLE),
        (lambda shared: shared["list"].append(1), None, AT_B),  # the same value, whatever is in it
        (lambda shared: shared.update(list=[]), None, WHOLE),
        (lambda shared: None, True, WHOLE),
        (lambda shared: shared.clear(), True, WHOLE),
        (lambda shared: None, False, AT_B),
        (lambda shared: shared.clear(), False, AT_B),
    ],
    ids=["same", "other", "more", "less", "within", "equal", "start", "start, changed", "there", "there, changed"],
)
def test_whether_a_set_goes_on_or_begins_anew(width, change, from_start, done):
    """It goes on if ``shared`` has the very values that it had, or if so told; else it begins anew."""
    script = Script("B exec 1")
    shared = {"text": "some", "list": []}
    result = ran(chain_of_three(Step, script, width, on_error="keep"), shared)
    script.take()
    script.failing.clear()
    change(shared)
    result.retry_failed(from_start=from_start)
    assert script.take() == done
    assert (result[1].result, result[1].status, result[1].attempts) == ("C 1 of C 1", "ok", 2)


class Writes(Step):
    """Leaves what it made under one key, for the step after it."""

    def post(self, shared, prep_res, exec_res):
        shared["draft"] = exec_res


class Reads(Step):
    def prep(self, shared):
        self.script(self, "prep")
        return shared["draft"]


@widths
def test_sets_that_write_where_the_others_do(width):
    """Where another set has since written under the same key, a set begins anew, and does not read the other's."""
    script = Script("B exec 1")
    flow = Sets(chain(script, Writes(name="A"), Reads(name="B")), name="S", on_error="keep", max_concurrency=1)
    shared = {}
    result = ran(flow, shared)
    assert shared["draft"] == "A 2 of A 2"
    script.take()
    script.failing.clear()
    result.retry_failed(max_concurrency=width)
    assert script.take() == ["A prep 1", "A exec 1", "B prep 1", "B exec 1", "B post 1"]
    assert result[1].result == "B 1 of A 1 of A 1"
    (_, note) = result.run.notes[-1]
    assert "1 of them started at the first node, because shared has changed; from_start=False resumes" in note


def test_run_retry_failed_takes_from_start():
    """``Run.retry_failed(from_start=True)`` walks failed sets from their beginning."""
    script = Script("B exec 1")
    result = ran(chain_of_three(Step, script, 1, on_error="keep"), {})
    script.take()
    script.failing.clear()
    assert result.run.retry_failed(from_start=True) is result.run
    assert script.take() == WHOLE


@widths
def test_the_place_of_a_thousand_is_kept(width):
    """Of the sets that failed, the first 1,000 go on where they were; the others begin anew."""
    failing = True
    done = []

    class First(Node):
        def exec(self, prep_res):
            done.append(self.params["n"])

    class Second(Node):
        def exec(self, prep_res):
            if failing and self.params["n"]:
                raise LookupError
            return self.params["n"]

    class Many(BatchFlow):
        def prep(self, shared):
            return [{"n": n} for n in range(1003)]

    first = First()
    first >> Second()
    result = ran(Many(first, on_error="keep", max_concurrency=width), {})
    failing = False
    done.clear()
    result.retry_failed()
    assert len(done) == 2
    assert set(done) <= set(range(1001 if width == 1 else 1, 1003))
    assert result.results == list(range(1003))


# --- param sets: interrupts ------------------------------------------------------------------------------------------


@widths
def test_an_interrupted_run_of_param_sets_goes_on(width):
    """A set that an interrupt stopped goes on where it was, and those that were not reached begin."""

    class Stopping(Step):
        def exec(self, prep_res):
            done = super().exec(prep_res)
            if self.stop and self.params["S"] == 1:
                raise KeyboardInterrupt
            return done

    script = Script()
    stopping = Stopping(name="B")
    stopping.stop = True
    flow = Sets(chain(script, Step(name="A"), stopping, Step(name="C")), name="S", max_concurrency=1)
    result = ran(flow, {}, raises=KeyboardInterrupt)
    assert [row.status for row in result] == ["ok", "cancelled", "pending"]
    script.take()
    stopping.stop = False
    result.retry(max_concurrency=width)
    done = script.take()
    assert [what for what in done if what.endswith("1")][-4:] == AT_B[-4:]
    assert not any(what.startswith("A") for what in done if what.endswith("1"))
    assert [what for what in done if what.endswith("2")] == [what.replace("1", "2") for what in WHOLE]
    assert [(row.result, row.status, row.attempts) for row in result] == [
        ("C 0 of C 0", "ok", 1),
        ("C 1 of C 1", "ok", 2),
        ("C 2 of C 2", "ok", 1),
    ]


@pytest.mark.parametrize("at", [0, 1, 2])
def test_an_interrupted_retry_of_param_sets(at):
    """After an interrupt of a retry, the sets that were done are, and each other goes on where it was at the next."""

    class Stopping(Step):
        stop = None

        def exec(self, prep_res):
            done = super().exec(prep_res)
            if self.stop == self.params["S"]:
                raise KeyboardInterrupt
            return done

    script = Script("B exec 0", "B exec 1", "B exec 2")
    stopping = Stopping(name="B")
    flow = Sets(chain(script, Step(name="A"), stopping, Step(name="C")), name="S", on_error="keep")
    result = ran(flow, {}, raises=AllFailedError)
    script.failing.clear()
    script.take()
    stopping.stop = at
    with pytest.raises(KeyboardInterrupt):
        result.retry_failed()
    assert [row.status for row in result] == ["ok"] * at + ["cancelled"] + ["failed"] * (2 - at)
    assert [row.attempts for row in result] == [2] * (at + 1) + [1] * (2 - at)
    stopping.stop = None
    script.take()
    result.retry()
    assert [what for what in script.take() if what.startswith("A")] == []
    assert [row.result for row in result] == [f"C {n} of C {n}" for n in range(3)]


# --- the whole run ---------------------------------------------------------------------------------------------------


def test_all_failures_of_a_run():
    """``Run.retry_failed`` calls the failed items of every batch; each is called once."""
    first, second = Model(1), Model(20)
    one, two = with_model(Ask(on_error="keep", name="One"), first), with_model(Ask(on_error="keep", name="Two"), second)
    flow = Flow(chain(None, one, Node(name="Between"), two))
    one.successors["done"] = one.successors["default"]
    flow.run({"items": [1, 2, 20]})
    first.take()
    second.take()
    first.failing.clear()
    second.failing.clear()
    run = flow.last_run
    assert run.retry_failed() is run
    assert (first.take(), second.take()) == ([1], [20])
    assert run.batch(one).results == [10, 20, 200]
    assert run.batch(two).results == [10, 20, 200]
    assert len(run.notes) == 2
    run.retry_failed()
    assert (first.take(), second.take()) == ([], [])


def test_notes_of_param_sets():
    """A note of a batch flow counts its param sets, and is shown with it alone."""
    script = Script("B exec 0", "B exec 1")
    node = Map(name="M")
    flow = Sets(chain(script, Step(name="B"), node), name="S", on_error="keep")
    result = ran(flow, {})
    script.failing = {"B exec 1"}
    result.retry_failed()
    note = "2 rows retried, 1 succeeded; post and the nodes after S were not run again"
    assert result.run.notes == [("S", note)]
    assert f"! {note}" in text(result)
    assert note not in text(result.run.batch(node))


def test_what_prep_had_set_on_the_node_is_there():
    """Also where ``__init__`` had set something else; but not where the retry asks for another value."""

    class Prepared(BatchNode):
        def __init__(self, **settings):
            super().__init__(**settings)
            self.source, self.model = None, "small"

        def prep(self, shared):
            self.source = "prepared"
            return [1, 2]

        def exec(self, shared, item):
            if item in shared["failing"]:
                raise ValueError(item)
            return self.source, self.model, item

    node, shared = Prepared(on_error="keep"), {"failing": [2]}
    flow = Flow(node, name="F")
    flow.run(shared)
    shared["failing"].clear()
    result = flow.last_run.batch(node)
    result.retry_failed()
    assert result.results == [("prepared", "small", 1), ("prepared", "small", 2)]
    result.retry([0], model="large", source="given")
    assert result.results[0] == ("given", "large", 1)


def test_param_sets_that_failed_side_by_side_are_let_go_of():
    """Of those beyond the number that is kept, nothing holds what ``shared`` was."""

    class Document:
        pass

    class Load(Node):
        def post(self, shared, prep_res, exec_res):
            shared["document"] = document = Document()
            documents.append(weakref.ref(document))

    class Fails(Node):
        def exec(self, _):
            raise ValueError("no")

    class Many(BatchFlow):
        def prep(self, shared):
            return [{"n": n} for n in range(3_000)]

    documents = []
    load = Load()
    load >> Fails()
    flow = Many(load, on_error="keep", max_concurrency=4)
    with pytest.raises(AllFailedError):
        flow.run({})
    gc.collect()
    assert sum(document() is not None for document in documents) <= 1_100
