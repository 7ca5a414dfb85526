"""Progress in a real front end: what is drawn over, where, and what stays in the saved notebook."""

import json
import os

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import ERRORS, widths

SLOW = """
    import os
    from llmflow_nb import BatchNode, Flow

    gate = os.open("gate", os.O_RDONLY)


    class Slow(BatchNode):
        def prep(self, shared):
            return range(shared["items"])

        def exec(self, item):
            os.read(gate, 1)
            return item


    flow = Flow(Slow(), name="slow")
"""
# Keeps every text that a cell shows, one after the other.
WATCH = """i => {
    const cell = document.querySelector(`.jp-Notebook [data-windowed-list-index='${i}']`);
    window.seen = [];
    new MutationObserver(() => {
        const text = [...cell.querySelectorAll('.jp-OutputArea-output')].map(output => output.innerText).join('\\n');
        if (text.trim() && text !== window.seen.at(-1)) window.seen.push(text);
    }).observe(cell, { childList: true, subtree: true, characterData: true });
}"""
CHANGED = "([element, before]) => element.innerText !== before"


class Gate:
    """Lets items of ``SLOW`` through, so many at a time; all of them once it is closed."""

    def __init__(self, path):
        os.mkfifo(path)
        self.path, self.file = path, os.open(path, os.O_RDWR)

    def let(self, items):
        os.write(self.file, b"." * items)

    def close(self):
        if self.file is not None:
            os.close(self.file)
            self.path.unlink()
            self.file = None


@pytest.fixture
def gate(server):
    gate = Gate(server.root / "gate")
    yield gate
    gate.close()


def follow(notebook, i, gate):
    """Run cell ``i``, whose run shows itself in one output, and let its items through as that is seen to change."""
    notebook.run()
    expect(notebook.output(i)).to_contain_text("running")
    for _ in range(2):
        gate.let(4)
        changes(notebook.output(i))
    gate.close()
    notebook.wait(i)


def changes(output):
    """Wait until an output shows something else than now."""
    element = output.element_handle()
    output.page.wait_for_function(CHANGED, arg=[element, output.inner_text()])


def test_progress_is_drawn_over_in_place(server, visitor, gate):
    """A run of more than a second shows how far it is in one output, which ends as, and is saved as, the last state."""
    notebook = visitor.open("progress.ipynb", SLOW, "flow.run({'items': 16})")
    notebook.page.evaluate(WATCH, 1)
    notebook.run()
    follow(notebook, 1, gate)
    assert notebook.page.evaluate(ERRORS) == []
    expect(notebook.output(1)).to_have_count(1)
    expect(notebook.output(1)).to_contain_text("16/16 items")
    expect(notebook.output(1)).to_contain_text("slow ok")
    seen = notebook.page.evaluate("window.seen")
    assert len(seen) > 2, seen
    assert "running" in seen[0]

    notebook.save()
    cells = json.loads((server.root / "progress.ipynb").read_text())["cells"]
    (output,) = cells[1]["outputs"]
    assert "16/16 items" in "".join(output["data"]["text/html"])


def test_a_handle_goes_on_after_its_cell(visitor, gate):
    """What `submit` returns is drawn over when its cell has ended, in every cell that shows it, until it is stopped."""
    notebook = visitor.open(
        "submit.ipynb", SLOW, "handle = flow.submit({'items': 10_000})\nhandle", "handle", "handle.stop()"
    )
    first, second = notebook.output(1), notebook.output(2)
    notebook.run()
    notebook.run()
    notebook.wait(1)
    expect(first).to_contain_text("running")
    gate.let(4)
    changes(first)

    notebook.run()
    notebook.wait(2)
    for output in (second, first):
        gate.let(4)
        changes(output)

    notebook.run()
    notebook.wait(3)
    for output in (first, second):
        expect(output).to_have_count(1)
        expect(output).to_contain_text("slow stopped")
    assert first.inner_text() == second.inner_text()
    expect(notebook.output(3)).to_have_text("True")


def test_after_a_reload_progress_says_that_it_is_old(visitor, gate):
    """A display that is not updated any more, as its page was loaded again, says of when it is; a live one does not."""
    notebook = visitor.open("reload.ipynb", SLOW, "handle = flow.submit({'items': 10_000})\nhandle")
    notebook.run()
    notebook.run()
    expect(notebook.output(1)).to_contain_text("running")
    expect(notebook.output(1).locator(".llmflow-nb-old")).to_be_hidden()
    notebook.save()
    output = visitor.load("reload.ipynb").output(1)
    expect(output.locator(".llmflow-nb-old")).to_be_visible(timeout=20_000)
    expect(output.locator(".llmflow-nb-old")).to_contain_text("This is a picture of")
    gate.let(4)
    changes(notebook.output(1))
    expect(notebook.output(1).locator(".llmflow-nb-old")).to_be_hidden()


MATHS = """
    from llmflow_nb import BatchNode, Flow


    class Ask(BatchNode):
        def prep(self, shared):
            return ["pay $5 now and $7 later", r"\\(x^2\\) and $$y$$"]

        def exec(self, item):
            return r"$\\frac{1}{2}$"


    flow = Flow(Ask(), name="costs $1 or $2")
    flow.run({}, progress=True)
"""


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_dollars_are_dollars(visitor, app):
    """What a model says is never typeset as a formula: not in a batch, in a run, nor in progress."""
    cells = ["flow.last_run.batch('Ask')", "flow.last_run", r"from IPython.display import HTML; HTML('made of $a^2$')"]
    notebook = visitor.open(f"maths-{app}.ipynb", MATHS, *cells, app=app)
    notebook.run_all()
    notebook.output(3).locator("mjx-container").wait_for()  # so by now all has been typeset that will be
    for i in range(3):
        expect(notebook.output(i).locator("mjx-container")).to_have_count(0)
    batch = notebook.output(1).first.inner_text()
    assert "pay $5 now and $7 later" in batch
    assert r"$\frac{1}{2}$" in batch
    assert "costs $1 or $2" in notebook.output(0).inner_text()


def test_notebook_7_shows_the_same(visitor, gate):
    """In Notebook 7 too a flow and its run are pictures, and progress is drawn over in one output."""
    notebook = visitor.open(
        "classic.ipynb", SLOW + "    flow\n", "flow.run({'items': 16})", "flow.last_run", app="notebook"
    )
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
