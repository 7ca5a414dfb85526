"""The widget of a batch without a browser: the page that it shows, the row that it opens, and what it is asked."""

import json
import subprocess
import sys

import pandas as pd
import pytest

from llmflow_nb import BatchFlow, BatchNode, Flow, Node


class Label(BatchNode):
    """Labels tickets; every tenth from the fourth on fails, until ``shared`` says otherwise."""

    def prep(self, shared):
        return shared["tickets"]

    def exec(self, shared, ticket):
        if ticket["n"] % 10 == 3 and not shared["is_fixed"]:
            raise ValueError(f"ticket {ticket['n']} means nothing")
        return {"label": "bug" if ticket["n"] % 2 else "question", "score": ticket["n"] / 10}


def batch(n=50, **fields):
    tickets = [{"n": i, "text": f"Ticket {i}\nsays something.", **fields} for i in range(n)]
    frame = pd.DataFrame(tickets, index=[f"T-{i:03}" for i in range(n)])
    flow = Flow(Label(on_error="keep"), name="Support")
    flow.run({"tickets": frame, "is_fixed": False, "secret_of_shared": "not to be seen"})
    return flow.last_run.batch("Label")


def ask(view, **content):
    """Ask for something, and return what is said."""
    before = view.status["answers"]
    view._on_request(view, content, [])
    assert view.status["answers"] == before + 1
    return view.status["message"]


def column(view, head):
    """What a page shows in a column."""
    n = [name for name, _ in view.page["columns"]].index(head)
    return [cells[n] for _, cells in view.page["rows"]]


def test_a_page_of_rows_is_shown():
    """Rows that failed come first; the fields of items and results are columns; each status is counted."""
    view = batch()._display_()
    assert column(view, "row")[:7] == ["T-003", "T-013", "T-023", "T-033", "T-043", "T-000", "T-001"]
    heads = ["row", "status", "item.n", "item.text", "result.label", "result.score", "error", "attempts", "seconds"]
    assert [head for head, _ in view.page["columns"]] == heads
    assert [(word, n) for word, _, n in view.page["counts"]] == [("ok", 45), ("failed", 5)]
    assert (len(view.page["rows"]), view.page["matching"], view.page["pages"]) == (20, 50, 3)
    assert view.page["state"][0] == "some failed"


def test_the_widget_of_a_batch_is_the_same_each_time():
    """Who shows a batch again sees it as it is now."""
    result = batch()
    view = result._display_()
    result.run.shared["is_fixed"] = True
    result.retry_failed()
    assert result._display_() is view
    assert [word for word, _, _ in view.page["counts"]] == ["ok"]
    assert any("5 rows retried, 5 succeeded" in note for note in view.page["notes"])


@pytest.mark.parametrize(("head", "first", "last"), [("result.score", "T-000", "T-049"), ("row", "T-000", "T-049")])
def test_rows_are_sorted_by_a_column(head, first, last):
    """Numbers as numbers, both ways; rows without a value come last both ways."""
    view = batch()._display_()
    ask(view, do="page", sort=head)
    assert column(view, "row")[0] == first
    ask(view, do="page", down=True)
    assert column(view, "row")[0] == last
    ask(view, do="page", number=2)
    if head == "result.score":
        assert column(view, "status")[-5:] == ["failed"] * 5


def test_rows_are_filtered_by_status_and_by_a_text():
    """Both at once; another choice begins at the first page."""
    view = batch()._display_()
    ask(view, do="page", number=2)
    ask(view, do="page", search="TICKET 1")
    assert (view.page["matching"], view.page["query"]["number"]) == (11, 0)
    ask(view, do="page", statuses=["failed"])
    assert column(view, "row") == ["T-013"]
    ask(view, do="page", search="no such text")
    assert (view.page["rows"], view.page["pages"]) == ([], 1)


def test_what_is_sent_does_not_grow_with_the_batch():
    """A page of 5,000 rows is about as large as one of 500."""
    small, large = (len(json.dumps(batch(n)._display_().page)) for n in (500, 5_000))
    assert large < 1.1 * small


def test_a_row_opens_to_all_that_is_known_of_it():
    """Its label, input, error with the user's own lines, and attempts; the whole of a value is sent when asked for."""
    view = batch(long="x" * 5_000)._display_()
    sent = []
    view.send = sent.append
    ask(view, do="open", row=13)
    assert (view.opened["label"], view.opened["status"][0]) == ("T-013", "failed")
    assert view.opened["facts"].startswith("1 attempt")
    assert "Label.exec, line" in view.opened["traceback"]
    assert "ValueError: ticket 13 means nothing" in view.opened["traceback"]
    assert [name for name, _, _ in view.opened["values"]] == ["item"]
    ask(view, do="whole", id="item")
    assert json.loads(sent[0]["text"])["long"] == "x" * 5_000
    ask(view, do="open", row=1)
    assert [name for name, _, _ in view.opened["values"]] == ["item", "result"]
    ask(view, do="close")
    assert view.opened == {}


def test_params_and_param_sets():
    """Rows inside a batch flow have the params of each level as columns; a param set opens with its last action."""
    flow = BatchFlow(Node(name="Ask"), name="Each")
    flow.prep = lambda shared: [{"city": city} for city in ("Rome", "Oslo")]
    flow.start_node.post = lambda *args: "done"
    flow.run({})
    view = flow.last_run.batch("Each")._display_()
    assert column(view, "city") == ["Rome", "Oslo"]
    ask(view, do="open", row=1)
    assert "last action 'done'" in view.opened["facts"]
    assert [name for name, _, _ in view.opened["values"]] == ["param set", "result"]


def test_secrets_and_shared_stay_in_the_kernel():
    """A field with the name of a secret is masked, also as a whole, and nothing of shared is sent."""
    view = batch(api_key="sk-123")._display_()
    sent = []
    view.send = sent.append
    ask(view, do="open", row=0)
    ask(view, do="whole", id="item")
    everything = json.dumps([view.page, view.opened, sent])
    assert "***" in column(view, "item.api_key")
    assert "sk-123" not in everything
    assert "not to be seen" not in everything


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"do": "open", "row": 10**9}, "IndexError: Support/Label has 50 rows; there is no row 1000000000."),
        ({"do": "open"}, "KeyError: 'row'"),
        ({"do": "open", "row": "x"}, "ValueError: invalid literal for int() with base 10: 'x'"),
        ({"do": "page", "number": 10**9}, ""),
        ({"do": "page", "number": -5}, ""),
        ({"do": "page", "sort": "<b>", "statuses": ["<b>"], "search": "x" * 10_000}, ""),
    ],
)
def test_nonsense_is_answered(content, said):
    """A request that cannot be met changes nothing, and says why."""
    view = batch()._display_()
    assert ask(view, **content) == said
    ask(view, do="page", statuses=[], search="")
    assert view.page["matching"] == 50


@pytest.mark.parametrize("content", [None, "page", {}, {"do": "refresh"}, {"do": ["page"]}])
def test_what_is_no_request_is_ignored(content):
    """Whatever a front end sends."""
    view = batch()._display_()
    view._on_request(view, content, [])
    assert view.status["answers"] == 0


def test_a_stepper_opens_at_a_row():
    """In the two outputs below the table; where there are none, the message says what to do instead."""
    result = batch()
    view = result._display_()
    assert ask(view, do="debug", row=13) == "here a stepper can be opened only by a cell with .debug(row)"
    shown = []
    view.places, view._show_stepper = ("a", "b"), lambda stepper, places: shown.append((stepper.title, places))
    assert ask(view, do="debug", row=13) == "a stepper at row T-013 is open below the table"
    assert shown == [("row 'T-013' of Support/Label", ("a", "b"))]


def test_without_a_kernel_there_is_no_widget():
    """IPython is told that it has to show the plain form, and no widget is imported."""
    result = batch()
    with pytest.raises(NotImplementedError):
        result._ipython_display_()
    program = (
        "import sys, llmflow_nb, llmflow_nb.notebook.display; print({'ipywidgets', 'anywidget'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "set()\n"
