"""Notebook 7 shows the same as JupyterLab: a flow and its run, progress, texts with dollars, the stepper."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import ERRORS, widths
from tests.browser.test_run_display import DOLLARS, SLOW, WATCH, follow, shows_dollars
from tests.browser.test_stepper import FLOW, Widget


@pytest.fixture(scope="module")
def notebook(jupyter):
    """A notebook in a page of Notebook 7, for cells of each test."""
    with jupyter.visit() as lab:
        lab.server.write("classic.ipynb", [""])
        yield lab.load("classic.ipynb", app="notebook")


def test_a_flow_and_its_run_are_pictures_and_progress_is_drawn_over(notebook, gate):
    """Progress is drawn over in one output."""
    notebook.fill(SLOW + "    flow\n", "flow.run({'items': 16})", "flow.last_run")
    notebook.page.evaluate(WATCH, 1)
    notebook.run()
    follow(notebook, 1, gate)
    notebook.run()
    notebook.wait(2)
    assert notebook.page.evaluate(ERRORS) == []
    for i in (0, 2):
        (width,) = widths(notebook.output(i).locator("img"))
        assert width > 0
    expect(notebook.output(1)).to_have_count(1)
    expect(notebook.output(1)).to_contain_text("16/16 items")
    assert len(notebook.page.evaluate("window.seen")) > 2
    expect(notebook.output(2).locator("table").first).to_be_visible()


def test_dollars_are_dollars(notebook):
    """What a model says is never typeset as a formula."""
    notebook.fill(*DOLLARS)
    shows_dollars(notebook)


def test_the_stepper_steps(notebook):
    """By keys, and it counts the calls."""
    notebook.fill(FLOW)
    notebook.run()
    widget = Widget(notebook, 0)
    widget.press("ArrowRight")
    assert widget.place().startswith("Story/Load visit 1 after exec")
    assert widget.counts() == "called 1, replayed 0"
