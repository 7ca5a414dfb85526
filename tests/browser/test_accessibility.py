"""The rules of axe hold for all that is shown, in a light and in a dark theme."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.conftest import CELL
from tests.browser.test_stepper import Widget

LABELS = """
    from llmflow_nb import BatchNode, Flow, Node

    class Load(Node):
        def post(self, shared, prep_res, exec_res):
            shared["tickets"] = [{"id": n, "text": "It is broken."} for n in range(1, 5)]
            shared["messages"] = [{"role": "user", "content": "Label it."}]
            shared["log"] = "line\\n" * 50

    class Label(BatchNode):
        def prep(self, shared):
            return shared["tickets"]
        def exec(self, ticket):
            print("asking\\n" * 30)
            if ticket["id"] == 3:
                raise ValueError("the model answered in many words. " * 12)
            return {"id": ticket["id"], "label": "bug"}

    load, label = Load(), Label()
    inner = Flow(label, name="inner")
    load >> inner >> Node(name="Publish")
    load - "skip" >> Node(name="Skip")
    flow = Flow(load, name="Labels")
    flow
"""
DISPLAYS = [
    "label.on_error = 'keep'; flow.run({}, progress=True)",
    "flow.last_run",
    "flow.last_run.batch('Label')",
]
FIND = "place => axe.run(place, { resultTypes: ['violations'] }).then(found => found.violations)"
THEMES = pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"])


def violations(notebook, place):
    """Return what axe finds in a place: the rule, and the element that breaks it."""
    page = notebook.page
    if page.evaluate("typeof axe") == "undefined":
        page.evaluate(Axe().axe_script)
    # What axe takes for hidden has no contrast: all that is out of view, and all in a body without a height.
    page.evaluate("document.body.style.minHeight = '100vh'")
    found = page.evaluate(FIND, place)
    page.evaluate("document.body.style.minHeight = ''")
    return [(rule["id"], node["html"][:200], node["failureSummary"]) for rule in found for node in rule["nodes"]]


def use(notebook, theme):
    notebook.use(theme)
    drawn_dark = notebook.page.locator(".llmflow-step-dark")
    steppers = notebook.page.locator(".llmflow-step-stepper").count()
    expect(drawn_dark).to_have_count(steppers if "Dark" in theme else 0)


@THEMES
def test_flow_progress_run_and_batch(lab, theme):
    """The graph of a flow, progress, and the tables of a run and a batch break no rule."""
    notebook = lab.open(LABELS, *DISPLAYS)
    notebook.page.set_viewport_size({"width": 1280, "height": 5000})
    notebook.run_all()
    use(notebook, theme)
    for i in range(4):
        assert violations(notebook, f"{CELL.format(i)} .jp-OutputArea-output") == [], i


@THEMES
def test_stepper(lab, theme):
    """The stepper breaks none in any of its states."""
    notebook = lab.open(LABELS, "flow.stepper({'n': 1})")
    notebook.run_all()
    use(notebook, theme)
    widget = Widget(notebook, 1)
    press, root = notebook.page.keyboard.press, widget.root

    def look():
        root.locator("[data-path='Labels/Load']").press("Enter")
        widget.idle()

    def edit():
        root.get_by_role("button", name="edit messages").press("Enter")

    def compare():
        root.locator(".llmflow-step-places li").first.get_by_role("button", name="compare").press("Enter")
        widget.idle()

    states = {
        "at the start": lambda: None,
        "with a node that is looked at": look,
        "with the keys": lambda: (press("Escape"), widget.idle(), press("?")),
        "after a failure": lambda: (press("Escape"), widget.press("r")),
        "with a form": edit,
        "with the history": lambda: (root.focus(), press("2")),
        "with two places compared": compare,
        "with the output": lambda: (root.focus(), press("3")),
    }
    found = {}
    for state, enter in states.items():
        enter()
        found[state] = violations(notebook, f"{CELL.format(1)} .llmflow-step-root")
    assert {state: what for state, what in found.items() if what} == {}
