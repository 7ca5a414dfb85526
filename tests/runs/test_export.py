"""`BatchResult.to_csv`: where it writes and where it does not, and what a spreadsheet cannot take for a formula."""

import csv
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from llmflow_nb import BatchFlow, BatchNode, ExportError, FlowError, Node, RowError
from tests.engine.helpers import Items, items_node

FORMULA = ("=", "+", "-", "@", "\t", "\r")

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "img": "<img src=x onerror=alert(1)>",
    "text": "</text><script>alert(1)</script>",
    "cdata": "]]><script>alert(1)</script>",
    "link": '"><a href="javascript:alert(1)">x',
    "table": '<<TABLE HREF="javascript:alert(1)"><TR><TD>click</TD></TR></TABLE>>',
    "lambda": "<lambda>",
    "bold": "<b>x</b>",
    "dot": 'a"];evil[URL="javascript:alert(1)"];"',
    "backslash": "end\\",
    "escapes": "\\N \\G \\L",
    "record": "{rec|<p>port}",
    "colon": "a:b",
    "image": "![x](https://evil.example/?q=1)",
    "formula": "=1+1",
    "sum": "@SUM(1)",
    "plus": "+1",
    "minus": "-2+3",
    "tab": "\t=1",
    "carriage": "\r=A(1, 2)",
    "nul": "a\0b",
    "vertical tab": "a\x0bb",
    "escape": "\x1b[31mred",
    "right to left": "\u202egnp.exe",
    "no character": "\ufffe",
    "quotes": 'a "b", c',
    "lines": "a\nb",
    "unicode": "ünï 🐝",
}


def refuse(item):
    raise LookupError(item)


def mapped(items, work=lambda item: item, **settings):
    """The record of a batch node over these items."""
    node = items_node("inline", lambda node, item: work(item), name="Map", **settings)
    node.run({"items": items})
    return node.last_run.batch(node)


def read(path):
    """The cells of a CSV file, as dicts by the names in its first row; that of the labels is "" if it has none."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def cells(tmp_path, items, work=lambda item: item, **options):
    """What stands in the column of results when these are written."""
    return [row["result"] for row in read(mapped(items, work).to_csv(tmp_path / "out.csv", overwrite=True, **options))]


# ---- where -----------------------------------------------------------------------------------------------------------


def test_the_file_is_the_table(tmp_path):
    """The file has the columns of the table behind its labels, and a row for each of its rows; its path is returned."""
    record = mapped(["a", "b"])
    path = record.to_csv(tmp_path / "out.csv")
    assert path == tmp_path / "out.csv"
    rows = read(path)
    assert list(rows[0]) == ["", *record.df.columns]
    assert [row["result"] for row in rows] == ["a", "b"]
    assert [row[""] for row in rows] == ["0", "1"]


def test_path_as_a_string(tmp_path, monkeypatch):
    """The path may be a string, and a bare name is a file in the working directory."""
    monkeypatch.chdir(tmp_path)
    assert mapped(["a"]).to_csv("out.csv") == Path("out.csv")
    assert read(tmp_path / "out.csv")[0]["result"] == "a"
    assert mapped(["b"]).to_csv(str(tmp_path / "other.csv")) == tmp_path / "other.csv"


@pytest.mark.parametrize("name", ["a", "A-b_c.1.csv", "-x.csv", "_x", "0", "a" * 100, "a..csv"])
def test_names_that_are_written(tmp_path, name):
    """Names of letters, digits, ".", "_" and "-" are written, up to 100 characters."""
    assert mapped(["a"]).to_csv(tmp_path / name) == tmp_path / name
    assert (tmp_path / name).is_file()


@pytest.mark.parametrize(
    "name",
    [
        "a" * 101,
        "a b.csv",
        "ä.csv",
        "٣.csv",
        "a:b.csv",
        "a\\b.csv",
        "a\n",
        "a.csv\n",
        "=1+1.csv",
        "a;rm.csv",
        "$(a).csv",
        "..",
        ".hidden",
        "*",
        "a?.csv",
        "<b>.csv",
        "\u202ecsv.exe",
        "a\0b",
        "~",
    ],
    ids=repr,
)
def test_names_that_are_refused(tmp_path, name):
    """Any other name is refused, and nothing is written."""
    with pytest.raises(
        ExportError, match=r"is not allowed as a file name: use letters, digits, '\.', '_' and '-', 100 at most\.$"
    ):
        mapped(["a"]).to_csv(f"{tmp_path}/{name}")
    assert list(tmp_path.iterdir()) == []


def test_no_name(tmp_path, monkeypatch):
    """A path without a name is refused."""
    monkeypatch.chdir(tmp_path)
    for path in ("", ".", "/"):
        with pytest.raises(ExportError, match="is not allowed as a file name"):
            mapped(["a"]).to_csv(path, overwrite=True)


def test_long_names_are_cut_in_the_error(tmp_path):
    """The error on a long name does not repeat all of it."""
    with pytest.raises(ExportError) as caught:
        mapped(["a"]).to_csv(tmp_path / ("a" * 10_000))
    assert len(str(caught.value)) < 300


def test_folder_that_is_not_there(tmp_path):
    """A folder is not made: one that is missing, or that is a file, is refused."""
    (tmp_path / "file").write_text("")
    for folder in ("missing", "file", "missing/deeper"):
        with pytest.raises(ExportError, match=rf"^there is no folder '.*{folder}'; create it first\.$"):
            mapped(["a"]).to_csv(tmp_path / folder / "out.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("target", ["there", "not there"])
def test_links_are_not_followed(tmp_path, target, overwrite):
    """A link is refused whether or not it may be overwritten and whatever it leads to; that stays as it was."""
    elsewhere = tmp_path / "elsewhere"
    if target == "there":
        elsewhere.write_text("precious")
    (tmp_path / "out.csv").symlink_to(elsewhere)
    with pytest.raises(ExportError, match=r"^'out\.csv' is a link, and links are not followed; remove it"):
        mapped(["a"]).to_csv(tmp_path / "out.csv", overwrite=overwrite)
    assert (elsewhere.read_text() == "precious") if target == "there" else not elsewhere.exists()
    assert (tmp_path / "out.csv").is_symlink()


def test_overwriting(tmp_path):
    """A file that is there is replaced only where that is asked for, and then as a whole."""
    path = tmp_path / "out.csv"
    path.write_text("precious" * 1_000)
    with pytest.raises(ExportError, match=r"^'out\.csv' exists; choose another name or set overwrite=True\.$"):
        mapped(["a"]).to_csv(path)
    assert path.read_text() == "precious" * 1_000
    mapped(["a"]).to_csv(path, overwrite=True)
    assert [row["result"] for row in read(path)] == ["a"]
    assert "precious" not in path.read_text()


def test_overwriting_what_is_not_there(tmp_path):
    """``overwrite=True`` asks for no file that is there."""
    mapped(["a"]).to_csv(tmp_path / "out.csv", overwrite=True)
    assert [row["result"] for row in read(tmp_path / "out.csv")] == ["a"]


def test_a_folder_in_the_way(tmp_path):
    """A folder that has the name of the file is not written to."""
    (tmp_path / "out.csv").mkdir()
    with pytest.raises(ExportError, match="exists and is not a file"):
        mapped(["a"]).to_csv(tmp_path / "out.csv")
    assert list((tmp_path / "out.csv").iterdir()) == []


def test_export_error(tmp_path):
    """The error is one of the library's own, and an OSError to whoever waits for one; it is no error of a row."""
    with pytest.raises(OSError, match="is not allowed as a file name") as caught:
        mapped(["a"]).to_csv(tmp_path / "a b")
    assert isinstance(caught.value, FlowError)
    assert not isinstance(caught.value, RowError)


# ---- formulas --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begin", FORMULA, ids=repr)
def test_formulas_in_values(tmp_path, begin):
    """A text that a spreadsheet would take for a formula has a ``'`` before it, and is otherwise whole."""
    text = f'{begin}cmd|"/c calc"!A1'
    (row,) = read(mapped([text], lambda item: item * 2).to_csv(tmp_path / "out.csv"))
    assert row["item"] == f"'{text}"
    assert row["result"] == f"'{text * 2}"
    assert row["status"] == "ok"


@pytest.mark.parametrize("begin", FORMULA, ids=repr)
def test_formulas_among_other_values(tmp_path, begin):
    """So has one in a column of several kinds, and one that is what an object says of itself."""

    class Said:
        def __str__(self):
            return f"{begin}1, 2"

    assert cells(tmp_path, [1, f"{begin}1, 1", None, Said()]) == ["1", f"'{begin}1, 1", "", f"'{begin}1, 2"]


@pytest.mark.parametrize("text", ["=", "+", "-", "@", "\t"], ids=repr)
def test_formulas_of_one_character(tmp_path, text):
    """So has a text that is no more than such a beginning."""
    assert cells(tmp_path, [text, "a"]) == [f"'{text}", "a"]


@pytest.mark.parametrize("text", ["a=1", " =1", "'=1", "1-2", "(-1)", "", "a@b.c", "\n=1"], ids=repr)
def test_texts_that_are_no_formulas(tmp_path, text):
    """Any other text is as it was."""
    assert cells(tmp_path, [text, "a"]) == [text, "a"]


@pytest.mark.parametrize("begin", ["=", "+", "-", "@"])
def test_formulas_in_headers(tmp_path, begin):
    """A param whose name reads like a formula has a ``'`` before it in the header, and its values below it."""
    name = f"{begin}cmd()"

    class Sets(BatchFlow):
        def prep(self, shared):
            return [{name: f"{begin}1", "other": "a"}]

    flow = Sets(Items())
    flow.run({"items": []})
    (row,) = read(flow.last_run.batch(flow).to_csv(tmp_path / "out.csv"))
    assert list(row)[1:4] == [f"'{name}", "other", "visit"]
    assert row[f"'{name}"] == f"'{begin}1"
    assert row["other"] == "a"


@pytest.mark.parametrize("begin", FORMULA, ids=repr)
def test_formulas_in_labels(tmp_path, begin):
    """The labels of the input are texts like all others."""
    items = pd.Series(["a", "b"], index=pd.Index([f"{begin}A(1, 2)", "plain"], name="id"))
    rows = read(mapped(items).to_csv(tmp_path / "out.csv"))
    assert [row["id"] for row in rows] == [f"'{begin}A(1, 2)", "plain"]


def test_formulas_in_labels_of_several_levels(tmp_path):
    """So they are on every level; numbers among them stay numbers."""
    index = pd.MultiIndex.from_tuples([("=1", -1), ("a", 2)], names=["text", "number"])
    rows = read(mapped(pd.Series(["a", "b"], index=index)).to_csv(tmp_path / "out.csv"))
    assert [(row["text"], row["number"]) for row in rows] == [("'=1", "-1"), ("a", "2")]


def test_formulas_in_errors_and_actions(tmp_path):
    """What exceptions say and what actions are called are texts like all others."""

    class Sets(BatchFlow):
        def prep(self, shared):
            return [{"n": 0}, {"n": 1}]

    class Leaf(Node):
        def exec(self, prep_res):
            if self.params["n"]:
                raise LookupError("=1+1")

        def post(self, shared, prep_res, exec_res):
            return "=go"

    flow = Sets(Leaf(), on_error="keep")
    flow.run({})
    rows = read(flow.last_run.batch(flow).to_csv(tmp_path / "out.csv"))
    assert rows[0]["action"] == "'=go"
    assert rows[1]["error"].startswith("'=1+1 (in ")


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ([-1, 2, None], ["-1", "2", ""]),
        ([-1.5, 2.5, None], ["-1.5", "2.5", ""]),
        ([-1, "a"], ["-1", "a"]),
        ([-1.5, "a"], ["-1.5", "a"]),
        ([-(2**70), 1], [str(-(2**70)), "1"]),
        ([float("-inf"), "a"], ["-inf", "a"]),
        ([np.float64(-1.5), "a"], ["-1.5", "a"]),
        ([True, None, False], ["True", "", "False"]),
    ],
    ids=repr,
)
def test_numbers(tmp_path, values, written):
    """Numbers stay as they are, negative ones too, alone and among texts."""
    assert cells(tmp_path, values) == written


@pytest.mark.parametrize("index", [pd.Index([-1, -2]), pd.Index([-1.5, -2.5]), pd.Index([-1, "a"])], ids=repr)
def test_numbers_as_labels(tmp_path, index):
    """So do labels that are numbers."""
    rows = read(mapped(pd.Series(["a", "b"], index=index)).to_csv(tmp_path / "out.csv"))
    assert [row[""] for row in rows] == [str(label) for label in index]


def test_switched_off(tmp_path):
    """With ``escape_formulas=False`` texts, headers and labels are as they were."""
    items = pd.Series(["=1", "+2", "-3", "@4", "\t5"], index=["=a", "+b", "-c", "@d", "\te"])
    path = mapped(items).to_csv(tmp_path / "out.csv", escape_formulas=False)
    rows = read(path)
    assert [row["result"] for row in rows] == items.tolist()
    assert [row[""] for row in rows] == list(items.index)


def test_the_table_stays_as_it_was(tmp_path):
    """Only the file is escaped: the table, the items and pandas' own ``to_csv`` have the text itself."""
    items = pd.Series(["=1"], index=pd.Index(["=a"], name="id"))
    record = mapped(items)
    record.to_csv(tmp_path / "out.csv")
    assert record.df["result"].tolist() == record.results == ["=1"]
    assert list(record.df.index) == list(items.index) == ["=a"]
    assert "'" not in record.df.to_csv()


# ---- whatever the text is --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_texts(tmp_path, text):
    """Whatever a text has in it, it stays in its cell and comes back from there, with a ``'`` if it is a formula."""
    half = f"'{text}" if text.startswith(FORMULA) else text
    index = pd.Index([text, "other"], name="id")
    rows = read(mapped(pd.Series([text, "a"], index=index)).to_csv(tmp_path / "out.csv"))
    assert len(rows) == 2
    assert [rows[0][name] for name in ("id", "item", "result")] == [half] * 3
    assert rows[0]["status"] == rows[1]["status"] == "ok"
    assert [rows[1][name] for name in ("id", "item", "result")] == ["other", "a", "a"]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_params(tmp_path, text):
    """So it is with the names and values of params."""

    class Sets(BatchFlow):
        def prep(self, shared):
            return [{f"p{text}": text}]

    flow = Sets(Items())
    flow.run({"items": []})
    (row,) = read(flow.last_run.batch(flow).to_csv(tmp_path / "out.csv"))
    assert row[f"p{text}"] == (f"'{text}" if text.startswith(FORMULA) else text)
    assert row["status"] == "ok"


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_errors(tmp_path, text):
    """And with what exceptions say."""
    record = mapped(["a", text], lambda item: item if item == "a" else refuse(text), on_error="keep")
    rows = read(record.to_csv(tmp_path / "out.csv"))
    assert rows[1]["error"].startswith(f"'{text}" if text.startswith(FORMULA) else text)
    assert rows[1]["error_type"] == "LookupError"
    assert len(rows) == 2


def test_lone_surrogates_in_columns_of_several_kinds(tmp_path):
    """Half a character, which no file can hold, is written as "?"; the rest of its text is there."""
    assert cells(tmp_path, ["a\ud83db", 1]) == ["a?b", "1"]


def test_long_texts(tmp_path):
    """Long texts are written whole."""
    text = "A" * 10_000_000
    path = mapped(["a"], lambda item: text).to_csv(tmp_path / "out.csv")
    content = path.read_text(encoding="utf-8")
    assert content.count("A") == len(text)
    assert content.count("\n") == 2


def test_texts_of_objects(tmp_path):
    """Lists, dicts, also one that contains itself, and frames are written as their text."""
    loop = {"a": 1}
    loop["self"] = loop
    assert cells(tmp_path, [["=1"], loop, {"b": "x, y"}]) == ["['=1']", "{'a': 1, 'self': {...}}", "{'b': 'x, y'}"]
    assert cells(tmp_path, [pd.DataFrame({"a": [1]})]) == [str(pd.DataFrame({"a": [1]}))]


def test_objects_without_a_text(tmp_path):
    """An object that cannot say what it is does not keep the others from being written."""

    class Mute:
        def __str__(self):
            raise ValueError("mute")

    assert cells(tmp_path, [Mute(), "a"]) == ["<Mute: ValueError>", "a"]


def test_empty(tmp_path):
    """A table without rows is a header."""
    path = mapped([]).to_csv(tmp_path / "out.csv")
    assert path.read_text() == ",visit,position,item,result,status,attempts,seconds,error_type,error\n"


def test_after_a_failure(tmp_path):
    """What a failed run has finished can be written like any other."""
    node = items_node("inline", lambda node, item: 1 // item)
    with pytest.raises(ZeroDivisionError):
        node.run({"items": [1, 0, 1]})
    rows = read(node.last_run.batch(node).to_csv(tmp_path / "out.csv"))
    assert [(row["result"], row["status"]) for row in rows] == [("1", "ok"), ("", "failed"), ("", "pending")]


def test_file_encoding(tmp_path):
    """The file is UTF-8, whatever the system prefers."""
    assert "ünï 🐝".encode() in mapped(["ünï 🐝"]).to_csv(tmp_path / "out.csv").read_bytes()


# ---- what was found by attack ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["x\r=1+1", "\r=1", "x\r\n=1+1", "x\n=1+1"])
def test_a_line_end_in_a_value_begins_no_row(tmp_path, text):
    """A carriage return within a text stays in its cell, so that nothing after it can pose as a formula."""
    rows = lines(results([text, "after"]).to_csv(tmp_path / "a.csv"))
    assert len(rows) == 3
    assert [row["status"] for row in rows_by_head(rows)] == ["ok", "ok"]


def test_the_name_of_the_index_is_escaped(tmp_path):
    """The head of the labels is a text like any other."""

    class Named(BatchNode):
        def prep(self, shared):
            return pd.Series(["a"], index=pd.Index(["i"], name="=cmd()"))

        def exec(self, item):
            return item

    node = Named()
    node.run({})
    assert lines(node.last_run.batch(node).to_csv(tmp_path / "a.csv"))[0][0] == "'=cmd()"


def test_a_lone_surrogate_is_written_as_a_question_mark(tmp_path):
    """Half a character, as a cut text may end in, is no reason not to write the rest."""
    rows = lines(results(["ab\ud83d"]).to_csv(tmp_path / "a.csv"))
    assert rows_by_head(rows)[0]["result"] == "ab?"


@pytest.mark.parametrize("number", [Decimal("-1.5"), np.int64(-5), Fraction(-1, 2), -7])
def test_numbers_of_every_kind_stay_numbers(tmp_path, number):
    """A negative number beside a text is not taken for a formula, whatever its class."""
    rows = lines(results([number, "text"]).to_csv(tmp_path / "a.csv"))
    assert rows_by_head(rows)[0]["result"] == str(number)


def test_a_file_that_is_there_survives_a_failure(tmp_path):
    """What is replaced is replaced at once, by a file that is whole: an error half-way leaves the old one."""

    class Loud:
        def __str__(self):
            raise KeyboardInterrupt

    path = tmp_path / "a.csv"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        results([Loud()]).to_csv(path, overwrite=True)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]


def test_a_folder_is_not_overwritten(tmp_path):
    """A folder of that name is refused like a file that is there."""
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(ExportError, match="exists and is not a file"):
        results([1]).to_csv(tmp_path / "a.csv", overwrite=True)


def test_an_expanded_table(tmp_path):
    """With expand=True, the fields of dict results are columns of the file."""
    rows = lines(results([{"label": "=x", "score": 1}]).to_csv(tmp_path / "a.csv", expand=True))
    assert (rows_by_head(rows)[0]["result.label"], rows_by_head(rows)[0]["result.score"]) == ("'=x", "1")


def results(values):
    """The record of a batch node with these results."""

    class Give(BatchNode):
        def prep(self, shared):
            return range(len(values))

        def exec(self, place):
            return values[place]

    node = Give()
    node.run({})
    return node.last_run.batch(node)


def lines(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def rows_by_head(rows):
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
