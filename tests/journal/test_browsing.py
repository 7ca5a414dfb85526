"""What users do with a journal besides running: compare runs, remove old ones, look at it in a cell."""

import sqlite3
from datetime import timedelta

import pytest

from llmflow_nb import BatchNode, Flow, Journal, JournalError, SettingError
from llmflow_nb.notebook.display import mimebundle
from tests.journal.helpers import start

LONG = 10_000  # characters of a result that is kept in a table of its own


class Label(BatchNode):
    prefix = "a"

    def prep(self, shared):
        return shared["texts"]

    def exec(self, text):
        if text == "bad":
            raise ValueError(text)
        return f"{self.prefix}: {text * LONG}" if text.isupper() else f"{self.prefix}: {text}"


def run(file, texts, prefix="a", name="labels"):
    flow = Flow(start=Label(on_error="keep"), name=name)
    flow.start_node.prefix = prefix
    flow.run({"texts": texts}, journal=file, progress=False)
    return flow.last_run


@pytest.fixture
def file(tmp_path):
    return tmp_path / "runs.db"


def rows(df):
    present = df.astype(object).where(df.notna(), None)
    return [tuple(row) for row in present.itertuples(index=False)]


# ---- diff ------------------------------------------------------------------------------------------------------------


def test_diff_has_the_rows_that_differ(file):
    """Rows are matched by their item, wherever it is now."""
    run(file, ["x", "y", "bad", "z"])
    run(file, ["new", "x", "bad", "y"])
    assert rows(Journal(file)[-1].diff(Journal(file)[-2])) == [
        ("labels/Label", 0, "new", None, "a: new", None, "ok"),
        ("labels/Label", 3, "z", "a: z", None, "ok", None),
    ]


def test_diff_compares_results_and_statuses(file):
    """Also of a record with a stored run."""
    run(file, ["x", "bad"])
    record = run(file, ["x", "bad"], prefix="b")
    assert rows(record.diff(Journal(file)[1])) == [("labels/Label", 0, "x", "a: x", "b: x", "ok", "ok")]
    assert len(record.diff(Journal(file)[2])) == 0
    assert list(record.diff(record).columns) == [
        "path", "position", "item", "before", "after", "status_before", "status_after",
    ]  # fmt: skip


def test_diff_of_equal_items_goes_by_their_order(file):
    """The second of two equal items belongs to the second one."""
    run(file, ["x", "x"])
    later = run(file, ["x"])
    assert rows(later.diff(Journal(file)[1])) == [("labels/Label", 1, "x", "a: x", None, "ok", None)]


# ---- prune -----------------------------------------------------------------------------------------------------------


def test_prune_keeps_the_latest_runs(file):
    """With the results of earlier runs that they use; others are gone."""
    run(file, ["x", "y"])
    run(file, ["x", "Z"])
    assert Journal(file).prune(keep=1) == 1
    assert list(Journal(file).runs["run"]) == [2]
    assert Journal(file)[2].batch("Label").results == ["a: x", f"a: {'Z' * LONG}"]
    assert run(file, ["x", "y", "Z"]).notes[-1][1].startswith("2 of 3 calls answered")


def test_prune_makes_the_file_smaller(file):
    """Long values go with the last call that has them."""
    for text in "ABCDEFG":
        run(file, [text])
    with sqlite3.connect(file) as db:
        db.execute("UPDATE value SET body = randomblob(50000)")
    db.close()
    Journal(file).prune(max_bytes=200_000)
    assert file.stat().st_size <= 200_000
    assert 1 <= len(Journal(file).runs) < 7
    assert Journal(file).runs["run"].tolist()[0] == 7


def test_prune_by_age(file):
    """Only runs that ended longer ago are removed."""
    run(file, ["x"])
    run(file, ["y"])
    with sqlite3.connect(file) as db:
        db.execute("UPDATE run SET ended = ended - 100 * 86400 WHERE id = 1")
    db.close()
    assert Journal(file).prune(older_than=timedelta(days=30)) == 1
    assert list(Journal(file).runs["run"]) == [2]
    assert Journal(file).prune(older_than=timedelta(days=30)) == 0


def test_prune_to_nothing(file):
    """The file stays a journal."""
    run(file, ["x"])
    assert Journal(file).prune(keep=0) == 1
    assert len(Journal(file).runs) == 0
    assert "0 runs" in repr(Journal(file))
    assert "0 runs" in mimebundle(Journal(file))["text/html"]
    run(file, ["x"])
    assert Journal(file)[-1].batch("Label").results == ["a: x"]


@pytest.mark.parametrize(
    "arguments", [{}, {"keep": -1}, {"keep": True}, {"keep": 1.5}, {"max_bytes": "1 MB"}, {"older_than": 30}]
)
def test_prune_needs_arguments_that_make_sense(file, arguments):
    """It says which."""
    run(file, ["x"])
    with pytest.raises(SettingError, match=r"prune\("):
        Journal(file).prune(**arguments)


def test_prune_of_a_file_in_use(tmp_path):
    """Another process writes to it: nothing is removed. A file that is not there is not made."""
    process = start("PAUSE = 0.2\nflow.run(shared, journal='runs.db', progress=False)", tmp_path)
    while not (tmp_path / "ledger").exists():
        assert process.poll() is None
    with pytest.raises(JournalError, match="is in use by process"):
        Journal(tmp_path / "runs.db").prune(keep=0)
    process.kill()
    process.communicate()
    assert Journal(tmp_path / "runs.db").prune(keep=0) == 1
    with pytest.raises(JournalError, match="there is no journal"):
        Journal(tmp_path / "other.db").prune(keep=1)
    assert not (tmp_path / "other.db").exists()


# ---- in a cell -------------------------------------------------------------------------------------------------------


def test_a_cell_shows_the_runs(file):
    """A table, the newest run first, with nothing of a name as markup."""
    run(file, ["x", "bad"], name="<b>first</b>")
    run(file, ["x"], name="second")
    html = mimebundle(Journal(file))["text/html"]
    assert html.index("second") < html.index("&lt;b&gt;first")
    assert "<b>" not in html
    text = mimebundle(Journal(file))["text/plain"]
    assert text.index("second") < text.index("<b>first")


def test_a_cell_shows_why_a_file_cannot_be_read(file):
    """Without a traceback."""
    file.write_bytes(b"\x89PNG" * 100)
    assert "is not a journal" in mimebundle(Journal(file))["text/plain"]
