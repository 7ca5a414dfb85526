"""A file of each format that was released can be looked at, and answers calls."""

import shutil
import sys

import pytest

from llmflow_nb import Journal
from tests.journal.make_file import FOLDER, model, run

FILES = sorted(path.name for path in FOLDER.glob("*.db"))


@pytest.fixture(params=FILES)
def file(request, tmp_path):
    return shutil.copy(FOLDER / request.param, tmp_path)


def test_there_are_files():
    """One for each format."""
    assert FILES[0].startswith("format_1_")


def test_to_look_at_a_file_of_a_format(file):
    """Its runs, and the tables of each, in any version of Python."""
    journal = Journal(file)
    counts = ["status", "called", "replayed", "failed", "unanswered"]
    assert journal.runs[counts].values.tolist() == [["ok", 1, 4, 1, 0], ["ok", 5, 0, 1, 0]]
    for which in (-1, -2):
        table = journal[which].batch("Label").df
        assert list(table["status"]) == ["ok", "failed", "ok"]
        assert table["result"][0]["tags"] == {"sun"}
        assert table["result"][2]["at"] == (1, 2.5, None, b"\0")
        assert len(table["result"][2]["long"]) == 6_000
        assert list(journal[which].batch("Questions").df["result"]) == [4, 9]
    assert list(journal.calls(2)["replayed"]) == [True, False, True, True, True]


def test_a_file_of_a_format_answers_calls(file):
    """Only the call that failed is made. Another version of Python has other code, and makes all calls."""
    if f"python_{sys.version_info[0]}_{sys.version_info[1]}" not in str(file):
        pytest.skip("the file was made by another version of Python")
    model.called.clear()
    model.is_up = True
    assert [each["label"] for each in run(file)["labels"]] == ["SUN", "STORM", "SUN"]
    assert model.called == ["storm"]
