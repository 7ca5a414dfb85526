"""A comparison in a real JupyterLab: what it shows, also where it is not trusted, and two steppers side by side."""

import json

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import CELL
from tests.browser.test_accessibility import THEMES, use, violations
from tests.browser.test_stepper import Widget

REPLIES = """
    from llmflow_nb import BatchNode, Flow

    class Reply(BatchNode):
        prompt = "reply"
        def prep(self, shared):
            return [f"Ticket {n}: it is broken" for n in range(20)]
        def exec(self, ticket):
            if self.prompt == "polite" and "7" in ticket:
                raise ValueError("the model answered nothing")
            thanks = "Thank you. " if self.prompt == "polite" else ""
            return f"{thanks}We look into <b>{ticket}</b> {'soon' if thanks and '3' in ticket else 'today'}"

    def score(item, result):
        return ("Thank" in result) + 2 * ("today" in result)

    flow = Flow(Reply(on_error="keep"), name="Support")
    comparison = flow.compare({}, old={}, new={"Reply.prompt": "polite"}, score=score)
    comparison
"""


@pytest.fixture(scope="module")
def shown(jupyter):
    """A notebook with a comparison, and two steppers at one of its rows."""
    with jupyter.visit() as lab:
        notebook = lab.open(REPLIES, "comparison.debug(3)")
        notebook.page.set_viewport_size({"width": 1330, "height": 2400})
        notebook.run_all()
        lab.save("comparison.ipynb")
        yield notebook


@THEMES
def test_a_comparison_breaks_no_rule(shown, theme):
    """The verdict, the variants and the rows are readable in light and dark."""
    use(shown, theme)
    assert violations(shown, f"{CELL.format(0)} .jp-OutputArea-output") == []
    output = shown.output(0)
    expect(output).to_contain_text("new is better than old")
    expect(output.locator("ins", has_text="soon")).to_have_count(2)
    expect(output.locator("td b")).to_have_count(0)  # no text is markup


def test_two_steppers_side_by_side(shown):
    """Both variants are at the row, beside each other, and each can be stepped by itself."""
    use(shown, "JupyterLab Light")
    both = shown.output(1).locator(".llmflow-step-stepper")
    expect(both).to_have_count(2)
    old, new = (both.nth(n).bounding_box() for n in range(2))
    assert old["y"] == new["y"]
    assert old["x"] + old["width"] <= new["x"]
    for n, (name, result) in enumerate([("old", "today"), ("new", "soon")]):
        widget = Widget(shown, 1, n)
        expect(widget.root).to_contain_text(f"{name}: row 3 of Support/Reply")
        widget.click("into")
        expect(widget.root).to_contain_text(result)
        assert "called 0, replayed 1" in widget.counts()


def test_a_comparison_that_is_not_trusted(shown, jupyter):
    """A saved notebook that somebody else has changed shows the same words, marks and signs."""
    saved = json.loads((jupyter.server.root / "comparison.ipynb").read_text())
    html = saved["cells"][0]["outputs"][0]["data"]["text/html"]
    html.insert(0, "<b></b>")  # changed by somebody else, so it is not trusted
    (jupyter.server.root / "comparison_untrusted.ipynb").write_text(json.dumps(saved))
    with jupyter.visit() as lab:
        output = lab.look("comparison_untrusted.ipynb").output(0)
        expect(output).to_contain_text("new is better than old")
        expect(output.locator("ins", has_text="soon").first).to_have_css("background-color", "rgba(46, 125, 50, 0.22)")
        expect(output.locator(".llmflow-nb-chip", has_text="failed").first).to_have_css("border-radius", "9px")
