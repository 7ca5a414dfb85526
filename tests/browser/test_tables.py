"""A batch in a real JupyterLab: sorted, filtered and opened by mouse and by keyboard, saved, and not trusted."""

import json
import os

import pytest
from playwright.sync_api import expect

from tests.browser.test_accessibility import THEMES, violations
from tests.browser.test_stepper import Widget

TICKETS = """
    import pandas as pd
    from llmflow_nb import BatchNode, Flow

    class Label(BatchNode):
        def prep(self, shared):
            return shared["tickets"]
        def exec(self, shared, ticket):
            if ticket["n"] % 40 == 36 and not shared.get("is_fixed"):
                raise ValueError("the model answered in many words. " * 12)
            return {"label": ["bug", "question"][ticket["n"] % 2], "reply": "Thank you. " * 20}

    text = "The parcel arrived late, and what is in it is broken. " * 5
    tickets = [{"n": n, "text": f"{n}. {text}", "score": n / 7} for n in range(200)]
    frame = pd.DataFrame(tickets, index=[f"T-{n:04}" for n in range(200)])
    flow = Flow(Label(on_error="keep"), name="Support")
    flow.run({"tickets": frame})
    labels = flow.last_run.batch("Label")
    labels
"""
FIX = "flow.last_run.shared['is_fixed'] = True; labels.retry_failed(); None"


class Table:
    """The widget in the output of a cell."""

    def __init__(self, notebook, i=0):
        self.page = notebook.page
        self.root = notebook.output(i).locator(".llmflow-step-table")
        self.root.wait_for()
        self.range = self.root.locator(".llmflow-step-range")
        self.detail = self.root.locator(".llmflow-step-detail")
        self.message = self.root.locator(".llmflow-step-message")

    def head(self, name):
        return self.root.get_by_role("columnheader", name=name)

    def row(self, label):
        return self.root.get_by_role("row", name=label)

    def labels(self):
        return self.root.get_by_role("rowheader").all_inner_texts()

    def picture(self, name):
        if folder := os.environ.get("LLMFLOW_NB_PICTURES"):
            self.root.screenshot(path=f"{folder}/table_{name}.png")


@pytest.fixture(scope="module")
def shown(jupyter):
    """A notebook that shows a batch of 200 rows, of which five failed; saved as ``tables.ipynb``."""
    with jupyter.visit() as lab:
        notebook = lab.open(TICKETS, FIX, "labels")
        notebook.run()
        Table(notebook)
        lab.save("tables.ipynb")
        yield notebook


def test_by_mouse(shown):
    """A click on a head sorts, chips and a text filter, and a click on a row opens it."""
    table = Table(shown)
    expect(table.range).to_have_text("1-20 of 200")
    assert table.labels()[:6] == ["T-0036", "T-0076", "T-0116", "T-0156", "T-0196", "T-0000"]
    table.head("item.score").get_by_role("button").click()
    expect(table.head("item.score")).to_have_attribute("aria-sort", "ascending")
    table.head("item.score").get_by_role("button").click()
    expect(table.head("item.score")).to_have_attribute("aria-sort", "descending")
    expect(table.root.get_by_role("rowheader").first).to_have_text("T-0199")
    table.root.get_by_role("button", name="next page").click()
    expect(table.range).to_have_text("21-40 of 200")
    table.root.get_by_role("button", name="failed 5").click()
    expect(table.range).to_have_text("1-5 of 5")
    table.root.get_by_label("Search all rows").fill("76.")
    expect(table.range).to_have_text("1-1 of 1")
    table.row("T-0076").get_by_text("76. The parcel").click()
    expect(table.detail).to_contain_text("row T-0076")
    expect(table.detail).to_contain_text("Label.exec, line")
    expect(table.row("T-0076").get_by_role("button")).to_have_attribute("aria-expanded", "true")
    table.picture("opened")
    table.detail.get_by_role("button", name="close").click()
    expect(table.detail).to_be_hidden()
    table.root.get_by_label("Search all rows").fill("")
    table.root.get_by_role("button", name="failed 5").click()
    expect(table.range).to_have_text("1-20 of 200")


def test_by_keyboard(shown):
    """From the search field down the rows, Enter opens one and Escape closes it; the notebook gets no key."""
    table, press = Table(shown), shown.page.keyboard.press
    cells = shown.page.locator(".jp-Notebook .jp-Cell").count()
    table.head("row").get_by_role("button").focus()
    press("Enter")
    expect(table.head("row")).to_have_attribute("aria-sort", "ascending")
    expect(table.head("row").get_by_role("button")).to_be_focused()
    press("/")
    shown.page.keyboard.type("parcel dd")
    expect(table.range).to_have_text("no row matches")
    for _ in range(3):
        press("Backspace")
    expect(table.range).to_have_text("1-20 of 200")
    table.row("T-0000").get_by_role("button").focus()
    press("ArrowDown")
    press("ArrowDown")
    press("ArrowUp")
    press("Enter")
    expect(table.detail).to_contain_text("row T-0001")
    press("Escape")
    expect(table.detail).to_be_hidden()
    expect(table.row("T-0001").get_by_role("button")).to_be_focused()
    assert shown.page.locator(".jp-Notebook .jp-Cell").count() == cells


def test_a_stepper_opens_below(shown):
    """At the row that is open; another row takes its place."""
    table = Table(shown)
    for label in ("T-0036", "T-0003"):
        table.root.get_by_label("Search all rows").fill(f"{int(label[2:])}. The")
        table.row(label).get_by_role("button").click()
        expect(table.detail).to_contain_text(f"row {label}")
        table.detail.get_by_role("button", name="step through this row").click()
        expect(table.message).to_contain_text(f"a stepper at row {label} is open below the table")
        stepper = shown.output(0).locator(".llmflow-step-stepper")
        expect(stepper).to_have_count(1)
        expect(stepper.locator(".llmflow-step-place")).to_contain_text(f"row '{label}' of Support/Label")
    widget = Widget(shown, 0)
    widget.press("ArrowRight")
    assert "after exec" in widget.place()
    table.root.get_by_label("Search all rows").fill("")


@THEMES
def test_the_rules_of_axe_hold(shown, theme):
    """With a row that is open and a filter that is on, in a narrow and in a wide window."""
    shown.use(theme)
    table = Table(shown)
    table.row("T-0001").get_by_role("button").click()
    expect(table.detail).to_contain_text("row T-0001")
    for width in (600, 900, 1400):
        shown.page.set_viewport_size({"width": width + 380, "height": 1600})
        assert violations(shown, ".llmflow-step-table") == []
        box = table.root.bounding_box()
        assert box["height"] < 1100
        assert table.root.evaluate("root => root.scrollWidth <= root.clientWidth + 1")
        table.picture(f"{width}_{'dark' if 'Dark' in theme else 'light'}")


def test_a_retry_is_seen_when_the_batch_is_shown_again(shown):
    """The same object in another cell: both show the present."""
    shown.run_cell(1)
    shown.run_cell(2)
    for i in (0, 2):
        table = Table(shown, i)
        expect(table.root).to_contain_text("5 rows retried, 5 succeeded")
        expect(table.root.get_by_role("button", name="failed")).to_have_count(0)


def test_a_saved_notebook_shows_a_plain_table(shown, lab):
    """Without its kernel, exported, and not trusted: chips with their words, texts folded, numbers to the right."""
    assert shown.page.locator(".llmflow-step-still").first.is_hidden()
    page = lab.offline(lab.server.export("tables.ipynb"))
    expect(page.locator(".llmflow-nb-table").last.get_by_role("rowheader").first).to_have_text("T-0036")
    saved = json.loads((lab.server.root / "tables.ipynb").read_text())
    saved["cells"][0]["outputs"] = [  # changed by somebody else, so it is not trusted
        output | {"data": output["data"] | {"text/html": ["<b></b>", *output["data"]["text/html"]]}}
        for output in saved["cells"][0]["outputs"]
        if "llmflow-step-still" in str(output)
    ]
    (lab.server.root / "tables_untrusted.ipynb").write_text(json.dumps(saved))
    untrusted = lab.look("tables_untrusted.ipynb")
    table = untrusted.output(0).locator(".llmflow-nb-table").last
    chip = table.locator(".llmflow-nb-chip").first
    expect(chip).to_have_text("failed")
    expect(chip).to_have_css("border-radius", "9px")
    score = table.locator("tbody tr").first.get_by_text("5.14286")
    expect(score).to_have_css("text-align", "right")
    fold = table.locator("details").first
    fold.locator("summary").click()
    expect(fold).to_have_attribute("open", "")
