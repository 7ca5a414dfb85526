"""A page that is loaded again while its kernel lives: the stepper goes on, and progress says that it is old."""

from contextlib import closing
from typing import NamedTuple

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import SHARED, Gate, Notebook
from tests.browser.test_run_display import SLOW, SUBMIT, let_items_through
from tests.browser.test_stepper import FLOW, Widget


class Pages(NamedTuple):
    """A notebook in the page that has run it and in one that was loaded later; the height of its stepper."""

    first: Notebook
    again: Notebook
    height: float
    gate: Gate


@pytest.fixture(scope="module")
def pages(jupyter, server):
    """A stepper that was stepped on and made smaller after its notebook was saved, and a run in progress."""
    with jupyter.visit() as lab, closing(Gate(server.root / "gate")) as gate:
        first = lab.open(FLOW, SLOW, SUBMIT)
        for i in range(3):
            first.run_cell(i)
        expect(first.output(2)).to_contain_text("running")
        widget = Widget(first, 0)
        widget.press("ArrowRight")
        lab.save()
        widget.press("ArrowRight")
        corner = widget.root.bounding_box()
        x, y = corner["x"] + corner["width"] - 4, corner["y"] + corner["height"] - 4
        mouse = widget.page.mouse
        mouse.move(x, y)
        mouse.down()
        mouse.move(x, y - 100, steps=3)
        mouse.up()
        height = widget.root.bounding_box()["height"]
        assert height == pytest.approx(corner["height"] - 100, abs=2)
        yield Pages(first, lab.load(SHARED), height, gate)


def test_a_stepper_is_where_it_was(pages):
    """The stepper lives in the kernel: a page that is opened again shows its true place, and steps on."""
    again = Widget(pages.again, 0)
    assert again.place().startswith("Story/Load visit 1 after post")
    assert again.root.bounding_box()["height"] == pytest.approx(pages.height, abs=2)
    again.press("ArrowRight")
    assert again.place().startswith("Story/inner visit 1 before prep")


def test_progress_says_that_it_is_old(pages):
    """A display that is not updated any more, as its page was loaded again, says of when it is; a live one does not."""
    live, old = pages.first.output(2), pages.again.output(2)
    expect(old.locator(".llmflow-nb-old")).to_be_visible()
    expect(old.locator(".llmflow-nb-old")).to_contain_text("This is a picture of")
    let_items_through(pages.gate, live)
    expect(live.locator(".llmflow-nb-old")).to_be_hidden()
