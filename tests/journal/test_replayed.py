"""The column ``replayed``: which results of a run a journal has answered."""

import pytest

from llmflow_nb import BatchFlow, BatchNode, Flow, Journal, Node


class Ask(Node):
    def prep(self, shared):
        return self.params.get("text", shared.get("text"))

    def exec(self, text):
        return text.upper()


class Label(BatchNode):
    def prep(self, shared):
        return shared["texts"]

    def exec(self, text):
        if text in self.bad:
            raise ValueError(text)
        return text.upper()


class OverTexts(BatchFlow):
    def prep(self, shared):
        return [{"text": text} for text in shared["texts"]]


class Bad(list):
    """A list on which no result depends."""

    def __fingerprint__(self):
        return "bad"


bad = Bad()


@pytest.fixture
def file(tmp_path):
    bad.clear()
    return tmp_path / "runs.db"


def label(file, texts):
    node = Label(on_error="keep")
    node.bad = bad
    flow = Flow(start=node, name="labels")
    flow.run({"texts": texts}, journal=file, progress=False)
    return flow.last_run


def test_the_items_that_the_file_answered(file):
    """A row says whether its result is from an earlier run; one that was called, or failed, is not."""
    bad.append("bad")
    assert label(file, ["a", "bad"]).batch("Label").df["replayed"].tolist() == [False, False]
    df = label(file, ["a", "bad", "c"]).batch("Label").df
    assert df["replayed"].tolist() == [True, False, False]
    assert str(df["replayed"].dtype) == "boolean"
    assert list(df.columns)[3:7] == ["result", "status", "replayed", "attempts"]


def test_without_a_journal_there_is_no_such_column():
    """The columns of a run without a journal are those that are documented."""
    node = Label()
    node.bad = bad
    flow = Flow(start=node, name="labels")
    flow.run({"texts": ["a"]}, progress=False)
    assert "replayed" not in flow.last_run.steps
    assert "replayed" not in flow.last_run.batch("Label").df


def test_the_visits_that_the_file_answered(file):
    """A visit is replayed if all of its calls were; a flow makes no calls."""
    label(file, ["a", "b"])
    assert label(file, ["a", "b"]).steps["replayed"].tolist()[:1] == [True]
    steps = label(file, ["a", "b", "c"]).steps
    assert steps["replayed"].isna().tolist() == [False, True]
    assert steps["replayed"].tolist()[0] is False
    assert list(steps.columns)[4:8] == ["action", "status", "replayed", "attempts"]


@pytest.mark.parametrize("at_once", [1, 4])
def test_the_visits_of_param_sets(file, at_once):
    """Each param set has a visit of its own, and a row of a batch flow is no call."""
    flow = OverTexts(start=Ask(), name="texts", max_concurrency=at_once)
    flow.run({"texts": ["a", "b"]}, journal=file, progress=False)
    flow.run({"texts": ["a", "b", "c"]}, journal=file, progress=False)
    steps = flow.last_run.steps.set_index("text")
    assert {text: steps.loc[text, "replayed"] for text in "abc"} == {"a": True, "b": True, "c": False}
    assert "replayed" not in flow.last_run.batch("texts").df


def test_a_row_that_is_called_again(file):
    """After a retry, the result is a new one."""
    label(file, ["a", "b"])
    batch = label(file, ["a", "b"]).batch("Label")
    batch.retry([1], progress=False)
    assert batch.df["replayed"].tolist() == [True, False]


def test_a_retry_that_fails_leaves_the_old_result(file):
    """The row keeps the result from the file, and says so."""
    label(file, ["a"])
    batch = label(file, ["a"]).batch("Label")
    bad.append("a")
    batch.retry([0], progress=False)
    assert batch.df[["result", "replayed"]].to_numpy().tolist() == [["A", True]]


def test_a_run_that_is_read_from_the_file(file):
    """It has the same column, in both tables."""
    label(file, ["a", "b"])
    run = label(file, ["a", "b", "c"])
    stored = Journal(file)[-1]
    assert stored.steps["replayed"].equals(run.steps["replayed"])
    assert stored.batch("Label").df["replayed"].equals(run.batch("Label").df["replayed"])


def test_a_cell_shows_which_rows_are_replayed(file):
    """The table has a mark, and the first line a count."""
    label(file, ["a", "b"])
    bundle = label(file, ["a", "b", "c"]).batch("Label")._repr_mimebundle_()
    assert bundle["text/html"].count(">replayed</span>") == 2
    assert "3 items, 3 ok (2 replayed)" in bundle["text/plain"]


def test_a_cell_of_new_results_has_no_mark(file):
    """Without a replayed row there is no column for it."""
    assert "replayed" not in label(file, ["a", "b"]).batch("Label")._repr_mimebundle_()["text/plain"]
