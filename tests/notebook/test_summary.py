"""What a run and a batch show of themselves, whatever is in them."""

import asyncio
import enum
import itertools
import re
import threading
from functools import lru_cache
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmflow_nb import AllFailedError, BatchFlow, BatchNode, Flow, FlowWarning, Node
from tests.engine.helpers import PATIENCE, Items
from tests.notebook.helpers import HOSTILE

MAX_HTML = 200_000


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch):
    """The summary alone: what is drawn above it is the affair of test_run_graph."""
    monkeypatch.setenv("LLMFLOW_NB_GRAPHVIZ", "none")


class RateLimitError(Exception):
    """Stands for that of a model's client."""


class Page(HTMLParser):
    """The elements of an HTML text with their attributes, and the texts in between, but for the style sheet."""

    def __init__(self, html):
        super().__init__()
        self.elements = []
        self.texts = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        if tag in ("details", "summary") and not attributes:  # a long text is folded, whatever it is
            return
        # The width of a column depends on the lengths of its texts.
        self.elements.append((tag, [(name, re.sub(r";min-width:\d+em$", "", value)) for name, value in attributes]))

    def handle_data(self, data):
        if self.cdata_elem is None and data.strip():
            self.texts.append(data.strip())

    def handle_comment(self, data):
        self.elements.append(("comment", data))

    handle_decl = handle_pi = unknown_decl = handle_comment


class Work(Items):
    """Raises the items that are exceptions, and returns the others in upper case or as they are."""

    def exec(self, item):
        if isinstance(item, BaseException):
            raise item
        return item.upper() if type(item) is str else item


def batch(*items, **settings):
    """The result of a batch node that keeps going, run over these items."""
    node = Work(**{"on_error": "keep", **settings})
    node.run({"items": list(items)})
    return node.last_run.batch(node)


def page(shown):
    """What a thing shows of itself in HTML."""
    bundle = shown._repr_mimebundle_()
    assert list(bundle) == ["text/html", "text/plain"], bundle
    assert len(bundle["text/html"]) <= MAX_HTML
    assert len(bundle["text/plain"]) <= MAX_HTML
    return Page(bundle["text/html"])


def text(shown):
    """What a thing shows of itself as text."""
    return shown._repr_mimebundle_()["text/plain"]


def table(shown, title):
    """The rows of the table whose title begins like this, in the text form, in words."""
    (found,) = [part for part in text(shown).split("\n\n") if part.startswith(title)]
    return [line.split() for line in found.splitlines()[1:]]


# ---- what there is to see --------------------------------------------------------------------------------------------


def test_a_run_counts_visits_calls_attempts_and_items():
    """Counts of the whole run come first, then a row for each node, with flows before their steps."""
    ask = Work(name="Ask", on_error="keep", max_retries=3)
    flow = BatchFlow(ask, name="Each")
    flow.prep = lambda shared: [{"n": 1}, {"n": 2}]
    flow.run({"items": ["a", "b", ValueError("no")]})
    assert text(flow.last_run).startswith("Each: ok\n  3 visits, 10 calls, ")
    rows = [line.split() for line in text(flow.last_run).split("\n\n")[1].splitlines()]
    assert rows[0][:3] == ["node", "visits", "attempts"]
    assert rows[1][:2] == ["Each", "1"]
    assert rows[2][:7] == ["Ask", "2", "10", "4", "ok,", "2", "failed"]


def test_errors_of_a_kind_are_one_line_with_their_number():
    """38 rate limits are "38 x RateLimitError" with what one of them said; the most frequent kind comes first."""
    errors = [ValueError("odd"), *(RateLimitError(f"slow down {i}") for i in range(38)), ValueError("odder")]
    result = batch("a", *errors)
    for shown in (result, result.run):
        assert "Errors" in page(shown).texts
        cells = page(shown).texts
        assert cells.index("38 x RateLimitError") < cells.index("2 x ValueError")
        assert cells[cells.index("38 x RateLimitError") + 1] == "slow down 0"


def test_the_error_that_is_shown_of_a_kind_is_the_first_of_the_input():
    """Whichever failed first, so that what is saved of a run is the same each time."""

    class Backwards(Items):
        async def exec(self, n):
            if n:
                second_failed.set()
            else:
                await second_failed.wait()
            raise ValueError(f"item {n}")

    second_failed = asyncio.Event()
    node = Backwards(max_concurrency=2, on_error="keep")
    with pytest.raises(AllFailedError):
        node.run({"items": [0, 1]})
    cells = page(node.last_run).texts
    assert cells[cells.index("2 x ValueError") + 1] == "item 0"


def test_more_than_five_kinds_of_errors_are_counted():
    """Of many kinds of errors five are shown, and how many more there are."""
    kinds = [type(f"Error{i}", (Exception,), {}) for i in range(8)]
    result = batch("a", *(kind("x") for kind in kinds))
    for shown in (result, result.run):
        assert "3 more kinds: .errors has them all" in page(shown).texts
        assert sum(cell.startswith("1 x Error") for cell in page(shown).texts) == 5


def test_rows_that_failed_come_first():
    """Failed rows are the first ones to be seen, with their error; the rows left out are counted."""
    items = [f"item{i}" for i in range(40)]
    items[30] = ValueError("thirty")
    items[35] = ValueError("thirty-five")
    result = batch(*items)
    rows = table(result, "Rows, ")
    assert [row[0] for row in rows[1:11]] == ["30", "35", "0", "1", "2", "3", "4", "5", "6", "7"]
    assert rows[1][:5] == ["30", "failed", "ValueError('thirty')", "ValueError:", "thirty"]
    assert rows[3][:4] == ["0", "ok", "item0", "ITEM0"]
    assert text(result).endswith("30 more rows: .df has them all")


def test_a_batch_says_how_it_went_and_what_took_longest():
    """Counts by status and the slowest row are in the line under the name; the failures are said above."""
    result = batch("a", "b", ValueError("x"))
    title, facts, *_ = text(result).splitlines()
    assert title == "Work: some failed"
    assert re.fullmatch(r"  3 items, 2 ok, 1 failed, \S+ \S+ in all, \S+ \S+ at most \(row [012]\)", facts)
    assert text(batch("a")).startswith("Work: ok\n  1 item, 1 ok, ")


def test_a_row_is_named_by_its_label():
    """Where the input was a Series, rows have its labels."""
    node = Work()
    node.run({"items": pd.Series(["a", "b"], index=["first", "second"])})
    rows = table(node.last_run.batch(node), "Rows\n")
    assert [row[0] for row in rows[1:]] == ["first", "second"]


@pytest.mark.parametrize(
    ("index", "seen"),
    [
        (pd.MultiIndex.from_tuples([("a", 1), ("b", 2)]), "a, 1"),
        (pd.date_range("2026-01-01", periods=2), "2026-01-01 00:00:00"),
        (pd.Index([1.5, 2.5]), "1.5"),
    ],
    ids=["tuple", "time", "number"],
)
def test_a_label_is_written_as_pandas_prints_it(index, seen):
    """Not as Python would write the object."""
    node = Work()
    node.run({"items": pd.Series(["a", "b"], index=index)})
    assert seen in page(node.last_run.batch(node)).texts


def test_a_visit_that_was_resumed_is_counted_once():
    """After a resume, visits are counted once, no visit failed, and attempts are those of both parts."""
    shared = {"items": ["a", RateLimitError("slow down"), "c"]}
    flow = Flow(Work(name="Ask", on_error="raise"), name="Chat")
    with pytest.raises(RateLimitError):
        flow.run(shared)
    flow.start_node.exec = lambda item: "fine"
    flow.last_run.resume()
    said = text(flow.last_run)
    assert said.startswith("Chat: ok\n  2 visits, 4 calls, ")
    heads, chat, ask, *_ = (line.split() for line in said.split("\n\n")[1].splitlines())
    assert heads[:4] == ["node", "visits", "attempts", "items"]
    assert chat[:2] == ["Chat", "1"]
    assert ask[:5] == ["Ask", "1", "4", "3", "ok"]


def test_after_a_retry_a_run_shows_its_new_state():
    """Attempts include those of the retry; an error that it has resolved says how to continue."""
    flow = Flow(Work(name="Ask", on_error="raise"), name="Chat")
    with pytest.raises(RateLimitError):
        flow.run({"items": ["a", RateLimitError("slow down")]})
    flow.start_node.exec = lambda item: "fine"
    flow.last_run.batch("Ask").retry_failed()
    said = text(flow.last_run)
    assert "  ! RateLimitError: slow down; a retry has resolved it: .resume() continues from there\n" in said
    assert "failed visits" not in said
    assert said.split("\n\n")[1].splitlines()[2].split()[:5] == ["Ask", "1", "3", "2", "ok"]


def test_params_are_a_column_where_there_are_any():
    """Rows inside a batch flow say which param set they belong to, in a column for each param."""
    flow = BatchFlow(Work(name="Ask"))
    flow.prep = lambda shared: [{"city": "Rome", "n": 1}]
    flow.run({"items": ["a"]})
    rows = table(flow.last_run.batch("Ask"), "Rows\n")
    assert rows[0][:5] == ["row", "status", "city", "n", "item"]
    assert rows[1][:5] == ["0", "ok", "Rome", "1", "a"]
    assert "params" not in page(batch("a")).texts


def test_the_fields_of_dicts_are_columns():
    """Items and results that are dicts have a column for each field that most have; the others are counted."""
    items = [{"title": "a", "n": 1}, {"title": "b", "n": 2.5}, {"title": "c", "odd": True}]
    rows = table(batch(*items), "Rows\n")
    assert rows[0][:6] == ["row", "status", "item.title", "item.n", "result.title", "result.n"]
    assert rows[2][:6] == ["1", "ok", "b", "2.5", "b", "2.5"]
    assert rows[3][:4] == ["2", "ok", "c", "c"]
    assert text(batch(*items)).endswith("2 more fields: .expand() has them all")


def test_dicts_with_nothing_in_common_are_not_spread():
    """Neither are dicts among other values: these are shown as Python has them."""
    for items in ([{"a": 1}, {"b": 2}, {"c": 3}], [{"a": 1}, "text"], [{n: n for n in range(30)}]):
        assert table(batch(*items), "Rows\n")[0][:4] == ["row", "status", "item", "result"]


def test_a_field_with_the_name_of_a_secret_is_masked():
    """Spread or not, the value of a key such as "token" is not shown."""
    rows = table(batch({"user": "a", "token": "s3cret"}), "Rows\n")
    assert rows[1][:4] == ["0", "ok", "a", "***"]


def test_numbers_are_aligned_to_the_right():
    """In HTML and in text, in columns where all values are numbers."""
    result = batch({"n": 5, "word": "x"}, {"n": 1200, "word": "y"})
    aligned = [dict(attributes)["style"][:16] for tag, attributes in page(result).elements if tag == "td"]
    assert aligned[:3] == ["text-align:left", "text-align:right", "text-align:left"]
    lines = text(result).split("Rows\n")[1].splitlines()
    assert lines[0].index("item.n") + len("item.n") == lines[1].index("5") + 1


def test_a_long_text_is_there_as_a_whole():
    """A long text is folded: its first words are seen, and the rest is in the same cell, with its lines."""
    long = " ".join(f"word{i}" for i in range(100)) + "\nlast line"
    html = batch(long)._repr_mimebundle_()["text/html"]
    assert html.count("<details><summary>word0 ") == 1
    assert html.count("<details><summary>WORD0 ") == 1
    assert re.search(r"word13</summary>word14 .*word99\nlast line</details>", html)
    assert "…" not in html


def test_a_status_is_a_word_in_its_colour():
    """Each status has a colour of its own, which a notebook that is not trusted keeps, and its word."""
    elements = page(batch("a", ValueError("x"))).elements
    chips = [dict(attributes)["style"] for tag, attributes in elements if tag == "span"]
    assert len(set(chips)) == 3  # of the batch, of the row that failed, of the other
    assert all("background-color" in style for style in chips)


def test_param_sets_are_called_param_sets():
    """Of a batch flow, a row is a param set."""
    flow = BatchFlow(Node())
    flow.prep = lambda shared: [{"n": 1}, {"n": 2}]
    flow.run({})
    result = flow.last_run.batch(flow)
    assert text(result).startswith("BatchFlow: ok\n  2 param sets, 2 ok, ")
    rows = table(result, "Rows\n")
    assert rows[0][:3] == ["row", "status", "n"]
    assert [row[:3] for row in rows[1:]] == [["0", "ok", "1"], ["1", "ok", "2"]]


def test_an_empty_batch_is_shown():
    """Without items there is no table of rows; that prep returned None is a note of the run."""
    node = Work()
    node.run({"items": None})
    assert text(node.last_run.batch(node)) == "Work: ok\n  no items"
    assert any("Is a return missing?" in line for line in page(node.last_run).texts)


def test_an_error_that_ended_the_run_is_said_first():
    """A failed run says what failed, and the node has a failed visit."""
    flow = Flow(Work(name="Ask"), name="Chat")
    with pytest.raises(RateLimitError):
        flow.run({"items": [RateLimitError("slow down")]})
    lines = text(flow.last_run).splitlines()
    assert lines[0] == "Chat: failed"
    assert lines[2] == "  ! RateLimitError: slow down"
    assert page(flow.last_run).elements[4] != page(batch("a").run).elements[4]  # the colour of the word


def test_problems_are_notes():
    """An action without an edge is said in the summary, and how often it came."""
    flow = Flow(Node(name="Ask"), name="Chat")
    flow.start_node.post = lambda *args: "nowhere"
    flow.start_node - "there" >> Node()
    outer = BatchFlow(flow, name="Each")
    outer.prep = lambda shared: [{}, {}]
    with pytest.warns(FlowWarning, match="nowhere"):
        outer.run({})
    problem = "  ! Each/Chat/Ask: 'nowhere' not found in ['there'] (2 times)"
    assert problem in text(outer.last_run).splitlines()


def test_notes_are_cut_after_the_eighth():
    """Of many problems the first are shown, and how many more there are."""
    run = batch("a").run
    for i in range(20):
        run._recorder.add_problem(f"problem {i}")
    lines = text(run).splitlines()
    assert "  ! problem 7" in lines
    assert "  ! problem 8" not in lines
    assert "  ! and 12 more in .problems" in lines


def test_rows_that_were_called_again_are_a_note():
    """A retry is said in the summary of the run and of the batch."""
    answers = iter([ValueError("x"), "fine"])
    node = Work(on_error="keep")
    node.exec = lambda item: item if item == "a" else (_ for _ in ()).throw(ValueError("x"))
    node.run({"items": ["a", "b"]})
    node.exec = lambda item: next(answers)
    result = node.last_run.batch(node).retry_failed()
    assert "  ! 1 row retried, 1 succeeded;" in text(result)
    assert "  ! Work: 1 row retried, 1 succeeded;" in text(result.run)


def test_a_running_run_says_where_it_is():
    """While a run goes on, its summary says so, where it is, and what is pending."""
    started, go_on = threading.Event(), threading.Event()

    class Ask(Items):
        def exec(self, item):
            if item == "b":
                started.set()
                assert go_on.wait(PATIENCE)
            return item

    flow = Flow(Ask(), name="Chat")
    submitted = flow.submit({"items": ["a", "b", "c"]})
    try:
        assert started.wait(PATIENCE)
        run, result = text(submitted.run), text(submitted.run.batch("Ask"))
    finally:
        go_on.set()
    assert submitted.wait(PATIENCE)
    assert run.startswith("Chat: running\n  0 visits, ")
    assert ", at Chat/Ask\n" in run
    assert result.startswith("Chat/Ask: running\n  3 items, 1 ok, 2 pending")
    assert text(submitted.run).startswith("Chat: ok\n")


def test_the_last_action_is_shown():
    """A run that ended well says with which action, if there was one."""
    node = Node(name="Ask")
    node.run({})
    assert "action" not in text(node.last_run).splitlines()[1]
    node.post = lambda *args: "done"
    node.run({})
    assert text(node.last_run).splitlines()[1].endswith(", last action done")


def test_an_interrupted_run_is_shown():
    """After an interrupt the rows that are there are shown, and what became of the others."""
    node = Work()
    with pytest.raises(KeyboardInterrupt):
        node.run({"items": ["a", KeyboardInterrupt(), "c"]})
    assert text(node.last_run).startswith("Work: interrupted\n")
    assert text(node.last_run.batch(node)).startswith("Work: incomplete\n  3 items, 1 ok, 1 cancelled, 1 pending")


@pytest.mark.parametrize("static", ["", "static"])
def test_html_and_text_have_the_same_words(static, monkeypatch):
    """The two forms say the same, in the same order."""
    monkeypatch.setenv("LLMFLOW_NB_DISPLAY", static)
    flow = BatchFlow(Work(name="Ask", on_error="keep"), name="Each")
    flow.prep = lambda shared: [{"n": n} for n in range(30)]
    flow.run({"items": ["a", ValueError("no"), None, {"key": [1, 2]}]})
    flow.last_run._recorder.add_problem("a problem")
    flow.last_run.batch("Ask").retry([0])
    for shown in (flow.last_run, flow.last_run.batch("Ask")):
        html = " ".join(page(shown).texts).replace("·", "").split()
        plain = text(shown).replace("\n  ! ", "\n").split()
        assert [word.strip(",:") for word in plain] == [word.strip(",:") for word in html]


def test_a_static_display_has_no_times(monkeypatch):
    """With LLMFLOW_NB_DISPLAY=static two runs show the very same, without any time."""
    monkeypatch.setenv("LLMFLOW_NB_DISPLAY", "static")

    def bundles():
        flow = BatchFlow(Work(name="Ask", on_error="keep"), name="Each")
        flow.prep = lambda shared: [{"n": 1}, {"n": 2}]
        flow.run({"items": ["a", ValueError("no"), "c"]})
        run = flow.last_run
        return [shown._repr_mimebundle_() for shown in (run, run.batch("Ask"), run.batch(flow))]

    first = bundles()
    assert first == bundles()
    for bundle in first:
        seen = " ".join(Page(bundle["text/html"]).texts) + bundle["text/plain"]
        assert not re.search(r"\d (ms|s|min|h)\b|seconds|slowest|at most|in all", seen)


def test_looking_runs_no_hook():
    """A display calls none of the hooks, and the last run stays the last."""
    told = []

    class Loud(Items):
        def prep(self, shared):
            told.append("prep")
            return super().prep(shared)

        def exec(self, item):
            told.append("exec")
            raise ValueError(item)

        def exec_fallback(self, prep_res, exc):
            told.append("fallback")

        def post(self, shared, prep_res, exec_res):
            told.append("post")

    node = Loud()
    node.run({"items": ["a"]})
    run = node.last_run
    assert told == ["prep", "exec", "fallback", "post"]
    text(run), text(run.batch(node))
    assert told == ["prep", "exec", "fallback", "post"]
    assert node.last_run is run


def test_a_run_that_was_awaited_shows_the_same():
    """How a run was started makes no difference."""

    class Ask(Items):
        async def exec(self, item):
            return item

    node = Ask()
    asyncio.run(node.run_async({"items": ["a"]}))
    assert text(node.last_run).startswith("Ask: ok\n  1 visit, 1 call, ")
    assert table(node.last_run.batch(node), "Rows\n")[1][:4] == ["0", "ok", "a", "a"]


# ---- strings that try to be more than text ---------------------------------------------------------------------------

SLOTS = ["node name", "class name", "flow name", "action", "lost action", "param key", "param value", "item", "result"]
SLOTS += ["error text", "error class", "problem", "note", "label"]
AS_PYTHON_HAS_IT = {"lost action"}


def displays(slot, word):
    """Everything that shows a text which is in one place, with harmless words in the others."""
    words = dict.fromkeys(SLOTS, "x") | {slot: word}
    error = type(words["error class"], (Exception,), {})(words["error text"])

    def exec_(self, item):
        if self.params.get("fail") is True:
            raise error
        return words["result"]

    cls = type(words["class name"], (Items,), {"exec": exec_})
    node = cls(on_error="keep") if slot == "class name" else cls(name=words["node name"], on_error="keep")
    node.post = lambda *args: words["lost action"]
    if slot == "lost action":
        node - "known" >> Node()
    each = BatchFlow(node, name=words["flow name"], on_error="keep")
    each.prep = lambda shared: [{words["param key"]: words["param value"]}, {"fail": True}]
    each.post = lambda *args: words["action"]
    each.run({"items": pd.Series([words["item"]], index=pd.Index([words["label"]], dtype=object), dtype=object)})
    run = each.last_run
    run._recorder.add_problem(words["problem"])
    run.notes.append((run.batches[1].path, words["note"]))
    return [run, *run.batches]


@lru_cache
def harmless_elements(slot):
    """The elements and attributes of each display with a harmless word."""
    return [page(shown).elements for shown in displays(slot, "x")]


@lru_cache
def harmless_lines(slot):
    """The number of lines of each text form with a harmless word."""
    return [text(shown).count("\n") for shown in displays(slot, "x")]


def check_that_it_is_text(slot, word):
    """Each display has the elements and attributes that it has with a harmless word. Returns all of its texts."""
    pages = [page(shown) for shown in displays(slot, word)]
    for one, elements in zip(pages, harmless_elements(slot), strict=True):
        assert one.elements == elements, (slot, word[:100])
    return [cell for one in pages for cell in one.texts]


@pytest.mark.filterwarnings("ignore:Flow ends")
@pytest.mark.parametrize("slot", SLOTS)
def test_a_hostile_string_is_text_like_any_other(slot):
    """The HTML has the same elements and attributes as with a harmless word, and the string can be read."""
    for word, expected in HOSTILE.items():
        if "class" in slot and set(word) & {"\x00", "\ud800"}:
            continue  # Python refuses to call a class that
        if len(word) >= 1_000_000 and slot == "lost action":
            word = word[:100_000]
        seen = check_that_it_is_text(slot, word)
        expected = (expected or word)[: 19 if slot == "label" else 29]
        if slot == "error text" and "\n" in word:
            expected = "two"  # its first line is shown
        if slot in AS_PYTHON_HAS_IT:
            expected = "A" * 29 if word.startswith("AAA") else " ".join(repr(word)[1:-1].split())
        assert any(expected in cell for cell in seen), (slot, word[:100])


@pytest.mark.parametrize("word", HOSTILE, ids=lambda word: ascii(word)[:30])
def test_nothing_of_a_hostile_string_breaks_the_text_form(word):
    """The text form has no control characters and as many lines as with a harmless word."""
    for slot in ("node name", "flow name", "param key", "item", "result", "error text", "problem", "note"):
        for shown, lines in zip(displays(slot, word), harmless_lines(slot), strict=True):
            said = text(shown)
            assert said.count("\n") == lines, slot
            assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff\ufffe]", said), slot


TEXTS = st.text(st.one_of(st.sampled_from("<>&\"'/=;:!-[]{}() \n\\"), st.characters()), min_size=1, max_size=300)


@pytest.mark.filterwarnings("ignore:Flow ends")
@settings(max_examples=200, deadline=None)
@given(slot=st.sampled_from([slot for slot in SLOTS if "class" not in slot]), word=TEXTS)
def test_any_string_is_text_like_any_other(slot, word):
    """Whatever the string and wherever it is, elements and attributes are those of a harmless word."""
    check_that_it_is_text(slot, word)


# ---- values that try to break the display ----------------------------------------------------------------------------


def boom(*args):
    raise ValueError("boom")


def exit_(*args):
    raise SystemExit("bye")


def interrupt(*args):
    raise KeyboardInterrupt


def odd(name, base=object, **members):
    """A value of a class with these members, that is made without any of them."""
    return lambda: base.__new__(type(name, (base,), members))


def of_itself(value):
    """A list or dict that contains itself."""
    if isinstance(value, list):
        value.append(value)
    else:
        value["self"] = value
    return value


class Dict(dict):
    __iter__ = boom
    keys = boom
    items = boom


class Text(str):
    __str__ = boom
    __format__ = boom


class Colour(enum.Enum):
    RED = "<b>"

    def __str__(self):
        raise ValueError


class Small(int):
    __repr__ = boom


# What is made, and what of it is to be read.
VALUES = {
    "repr raises": (odd("Odd", __repr__=boom), "<Odd: its repr raised ValueError>"),
    "repr exits": (odd("Odd", __repr__=exit_), "<Odd: its repr raised SystemExit>"),
    "repr interrupts": (odd("Odd", __repr__=interrupt), "<Odd: its repr raised KeyboardInterrupt>"),
    "repr returns a number": (odd("Odd", __repr__=lambda self: 5), "<Odd: its repr raised TypeError>"),
    "repr returns 1 MB": (odd("Odd", __repr__=lambda self: "<b>" * 333_333), "<b><b><b>"),
    "repr has lines": (odd("Odd", __repr__=lambda self: "a\n<b>\x1b[31m"), r"a <b>\x1b[31m"),
    "str raises": (odd("Odd", __str__=boom, __repr__=lambda self: "fine"), "fine"),
    "len raises": (odd("Odd", __len__=boom, __bool__=boom, __repr__=lambda self: "fine"), "fine"),
    "equality raises": (odd("Odd", __eq__=boom, __hash__=None, __repr__=lambda self: "fine"), "fine"),
    "hash raises": (odd("Odd", __hash__=boom, __repr__=lambda self: "fine"), "fine"),
    "attributes raise": (odd("Odd", __getattr__=boom, __repr__=lambda self: "fine"), "fine"),
    "class lies": (odd("Odd", __class__=property(lambda self: str), __repr__=lambda self: "fine"), "fine"),
    "class lies as a dict": (odd("Odd", __class__=property(lambda self: dict), __repr__=lambda self: "fine"), "fine"),
    "hostile class name": (odd("<script>", __repr__=boom), "<<script>: its repr raised ValueError>"),
    "list of itself": (lambda: of_itself([1]), "[1, ...]"),
    "dict of itself": (lambda: of_itself({"a": 1}), "{'a': 1, 'self': ...}"),
    "list subclass of itself": (lambda: of_itself(type("List", (list,), {})()), "[[...]]"),
    "deep list": (
        lambda: list(itertools.accumulate(range(5_000), lambda inner, _: [inner], initial=[]))[-1],
        "[[[...]]]",
    ),
    "dict with a raising iter": (lambda: Dict(a=1), "{'a': 1}"),
    "dict that is large": (
        lambda: dict.fromkeys(range(100_000)),
        "{0: None, 1: None, 2: None, 3: None, 4: None, 5: None, ... 100000 in all}",
    ),
    "text of 10 MB": (lambda: "<b>" * 3_333_333, "<b><b>"),
    "bytes of 10 MB": (lambda: b"<b>" * 3_333_333, "b'<b><b>"),
    "text with a hostile str": (lambda: Text("plain"), "plain"),
    "huge number": (lambda: 10**100_000, "<int of 332193 bits>"),
    "number with a hostile repr": (lambda: Small(5), "<Small: its repr raised ValueError>"),
    "enum": (lambda: Colour.RED, "<Colour.RED: '<b>'>"),
    "text enum": (lambda: enum.StrEnum("Word", {"HI": "<i>"}).HI, "<i>"),
    "frame": (lambda: pd.DataFrame({"<b>": range(1000)}), "<DataFrame 1000 x 1>"),
    "series": (lambda: pd.Series(range(1000)), "<Series 1000>"),
    "array": (lambda: np.zeros((1000, 1000)), "<ndarray 1000 x 1000>"),
    "numpy number": (lambda: np.float64(0.5), "np.float64(0.5)"),
    "lone surrogate": (lambda: "a\ud800b", r"a\ud800b"),
    "lone surrogate inside": (lambda: ["a\ud800b"], "['a\\ud800b']"),
    "nan": (lambda: float("nan"), "nan"),
    "empty text": (lambda: "", "''"),
    "exception group": (
        lambda: [ExceptionGroup("<b>", [ValueError("x")])],
        "[ExceptionGroup('<b>', [ValueError('x')])]",
    ),
    "class": (lambda: Colour, "<enum 'Colour'>"),
    "function": (lambda: boom, "<function boom at"),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_that_resists_is_shown(name):
    """Whatever an item, a result or a param is, there is a display that says of it what can be said."""
    make, expected = VALUES[name]
    value = make()

    class Ask(BatchNode):
        def prep(self, shared):
            return [value]

        def exec(self, item):
            return item

    each = BatchFlow(Ask(), name="Each")
    each.prep = lambda shared: [{"p": value}]
    each.run({})
    result = each.last_run.batch("Ask")
    seen = page(result).texts
    if type(value) is not dict or len(value) > 20:  # else its fields are columns
        assert sum(cell.startswith(expected) for cell in seen) >= 3, seen  # as param, as item and as result
    for shown in (each.last_run, each.last_run.batch(each)):
        page(shown)


def test_a_repr_that_does_not_return_is_left_alone():
    """All values of a display together get half a second; one that sleeps is named by its class, others stay seen."""
    release = threading.Event()
    called = []

    class Slow:
        def __repr__(self):
            called.append(self)
            release.wait()
            return "late"

    try:
        result = batch(Slow(), Slow(), "last")
        seen = page(result).texts
    finally:
        release.set()
    assert seen.count("<Slow: its repr takes too long>") == 1
    assert seen.count("<Slow>") == 3
    assert len(called) == 1
    assert "LAST" in seen


def test_a_repr_that_prints_disturbs_nothing(capsys):
    """What a repr prints is not in the display."""

    class Loud:
        def __repr__(self):
            print("<script>")
            return "loud"

    seen = page(batch(Loud())).texts
    assert "loud" in seen
    assert "<script>" not in " ".join(seen)
    assert "<script>" in capsys.readouterr().out


def fine_class(name, **members):
    return type(name, (Exception,), members)


ERRORS = {
    "no text": (lambda: ValueError(), "ValueError"),
    "many lines": (lambda: ValueError("first\nsecond"), "ValueError: first"),
    "text of 10 MB": (lambda: ValueError("<b>" * 3_333_333), "ValueError: <b><b>"),
    "many arguments": (lambda: ValueError(*range(1000)), "ValueError: (0, 1, 2,"),
    "lone surrogate": (lambda: ValueError("a\ud800b"), r"ValueError: a\ud800b"),
    "str raises": (lambda: fine_class("Odd", __str__=boom)(), "Odd: <Odd without a text: "),
    "str returns a number": (lambda: fine_class("Odd", __str__=lambda self: 5)(), "Odd: <Odd without a text: "),
    "repr raises": (lambda: fine_class("Odd", __repr__=boom)("text"), "Odd: text"),
    "equality raises": (lambda: fine_class("Odd", __eq__=boom, __hash__=None, __bool__=boom)("text"), "Odd: text"),
    "closed": (lambda: fine_class("Odd", __setattr__=boom, __getattr__=boom)("text"), "Odd: text"),
    "group": (lambda: ExceptionGroup("<b>", [ValueError("x")]), "ExceptionGroup: <b> (1 sub-exception)"),
    "hostile class": (lambda: fine_class("<img src=x>")("<b>"), "<img src=x>: <b>"),
    "key error": (lambda: KeyError("<b>"), "KeyError: '<b>'"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_exception_that_resists_is_shown(name):
    """Whatever an exception does with its text, the row says what it was, and the run counts it."""
    make, expected = ERRORS[name]
    error = make()

    class Ask(Items):
        def exec(self, item):
            if item:
                raise error
            return item

    node = Ask(on_error="keep")
    node.run({"items": [0, 1]})
    kind, _, said = expected.partition(": ")
    assert any(cell.startswith(expected) for cell in page(node.last_run.batch(node)).texts)
    seen = page(node.last_run).texts
    assert f"1 x {kind}" in seen
    assert any(cell.startswith(said) for cell in seen)


def test_the_notes_of_an_exception_do_not_hide_its_text():
    """What `add_note` added is below the text; the display has the text."""
    error = ValueError("the text")
    error.add_note("<b>the note")
    seen = page(batch("a", error)).texts
    assert "ValueError: the text" in seen


# ---- much of it ------------------------------------------------------------------------------------------------------


def test_a_hundred_thousand_rows_are_shown_in_part():
    """Of a hundred thousand rows there are ten, and their number."""
    node = BatchNode()
    node.prep = lambda shared: range(100_000)
    node.exec = lambda item: item
    node.run({})
    result = node.last_run.batch(node)
    assert "99990 more rows: .df has them all" in page(result).texts
    assert text(result).startswith("BatchNode: ok\n  100,000 items, 100000 ok, ")
    assert text(node.last_run).startswith("BatchNode: ok\n  1 visit, 100,000 calls, ")


def test_ten_thousand_visits_are_one_row():
    """A flow that goes round 10,000 times shows its node once, with the number."""
    node = Node(name="Ask")
    node.post = lambda shared, *args: shared.append(1) or ("again" if len(shared) < 10_000 else None)
    node - "again" >> node
    end = Node(name="End")
    node >> end
    flow = Flow(node, name="Loop", max_steps=None)
    flow.run([])
    shown = text(flow.last_run)
    assert shown.startswith("Loop: ok\n  10,002 visits, 10,001 calls, ")
    assert any(line.split()[:2] == ["Ask", "10000"] for line in shown.splitlines())
    assert len(page(flow.last_run).elements) < 50


def test_visits_that_are_not_kept_are_a_note(few_visits_kept):
    """Of a longer run the record has the latest visits, and the summary says how many were before them."""
    node = Node(name="Ask")
    node.post = lambda shared, *args: shared.append(1) or ("again" if len(shared) < 16_000 else None)
    node - "again" >> node
    flow = Flow(node, name="Loop", max_steps=None)
    with pytest.warns(FlowWarning, match="Flow ends"):
        flow.run([])
    _, facts, note, *_ = text(flow.last_run).splitlines()
    assert facts.startswith("  16,001 visits, 16,000 calls, ")
    kept = len(flow.last_run.visits)
    assert kept < 16_001
    assert note == f"  ! only the latest {kept:,} visits are kept; {16_001 - kept} earlier ones are only counted"


def test_many_nodes_are_shown_in_part():
    """Of 500 nodes with long names full of markup there are twenty, and the number of the others."""
    nodes = [Node(name=f"{i} {'<&' * 50}") for i in range(500)]
    for node, following in itertools.pairwise(nodes):
        node >> following
    flow = Flow(nodes[0], name="Long")
    flow.run({})
    assert "481 more nodes: .steps has them all" in page(flow.last_run).texts


def test_values_full_of_markup_stay_within_the_bound():
    """Where every character takes six in HTML, everywhere at once, the display is still bounded."""
    long = '"' * 1_000
    kinds = [type(f"{i}{long}", (Exception,), {}) for i in range(20)]
    node = Work(name=long, on_error="keep")
    each = BatchFlow(node, name=long)
    each.prep = lambda shared: [{f"{long}{i}": long for i in range(5)}]
    each.run({"items": [*(kind(long) for kind in kinds), *[long] * 20]})
    for i in range(100):
        each.last_run._recorder.add_problem(f"{i}{long}")
    for shown in (each.last_run, *each.last_run.batches):
        assert any(cell.startswith('"""') or cell.endswith('"""…') for cell in page(shown).texts)
    assert "and 92 more in .problems" in page(each.last_run).texts
    assert "30 more rows: .df has them all" in page(each.last_run.batches[1]).texts
